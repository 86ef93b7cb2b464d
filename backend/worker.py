"""The process that makes pictures: takes one job after another from the gateway that started it. Nothing else loads torch."""

import errno
import faulthandler
import io
import logging
import os
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import asdict

from ..protocol import (
    DeviceInfo,
    DiskFull,
    JobCheckpoint,
    JobDone,
    JobFailed,
    JobPreview,
    JobProgress,
    JobStopped,
    Ready,
    Refusal,
    RenderRequest,
    Report,
    RunJob,
    arrays_from_frames,
)
from ..protocol.messages import SENTENCE_LIMIT
from ..protocol.orders import PREVIEW_LIMIT_BYTES
from .checkpoints import CheckpointFolder
from .launch import leave_with_the_gateway, read_start
from .line import Line
from .machine import core_count, find_memory
from .models.memory_saving import SPARING, keep_fallback, kept_fallback
from .models.sets import choose_model_set
from .planning.resolve import digest_making
from .signals import ending_signals
from .version import app_version
from .watch import Headway, RenderToFile, Stopped

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

PREVIEW_SIDE_PX = 512
PREVIEW_INTERVAL_S = 0.5


def run_worker(render: RenderToFile | None = None, devices: tuple[str, ...] = ("cpu",)) -> int:
    """Work until the gateway says so or is gone; return the process's exit code.

    Standard input is the pipe from the gateway. render: what makes the pictures, on a machine with `devices`; None for the
    real pipeline on what this machine has.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    faulthandler.enable()
    for number in ending_signals():  # Ctrl-C and systemd reach all processes of a backend; the gateway decides
        signal.signal(number, signal.SIG_IGN)
    try:
        start = read_start()
    except Refusal as error:
        print(error, file=sys.stderr)
        return 2
    leave_with_the_gateway()
    line = Line(start)
    line.open()  # heartbeats, while torch is being loaded
    device, precision = DeviceInfo(kind="cpu", name="stand-in"), ""
    if render is None:
        from .models.devices import choose_device, list_devices, make_current

        choose_device(start.device, start.precision)  # what is refused is so before the models' libraries are loaded
        from .render import Renderer

        render = Renderer(start.device, precision=start.precision, offload=start.offload)
        precision = f" in {render.dtype}"
        make_current(render.device)
        devices, device = list_devices(), describe(render.device)
        line.look = partial(describe, render.device)
    made_by = f"beyondscene {app_version()} on {device.name}{precision}"
    line.report(Ready(device=device, pid=os.getpid(), devices=devices))
    log.info("ready on %s", device.name)
    while (order := line.next_work()) is not None:
        work, payload = order
        with line.pulse.of_a_job():
            report = do_work(work, payload, render, line, made_by)
        line.report(report)
    line.close()
    return 0


def do_work(work: RunJob, payload: list[bytes | memoryview], render: RenderToFile, line: Line, made_by: str) -> Report:
    """Do one job and say how it ended; whatever goes wrong in it, the worker goes on."""
    job = {"job_id": work.job_id, "attempt": work.attempt}
    log.info("job %s: attempt %d, %dx%d px", work.job_id, work.attempt, work.request.width, work.request.height)
    try:
        path = Path(work.result_path)
        arrays = arrays_from_frames(work.arrays, payload)
        models = work.models_folder or work.models
        folder = Path(work.checkpoints_folder or path.parent)
        made_with = f"{made_by} with {models} {digest_made_with(models, work.request)}".rstrip()
        checkpoints = CheckpointFolder(folder, made_with, lambda: line.report(JobCheckpoint(**job)))
        if work.sparing and kept_fallback(checkpoints) < SPARING:
            keep_fallback(checkpoints, SPARING)
        result = render(work.request, arrays, models, path, JobWatcher(work, line), checkpoints)
        return JobDone(**job, **asdict(result))
    except Stopped:
        return JobStopped(**job)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.warning("job %s: %s", work.job_id, error)
            return DiskFull(**job)
        return broke(error, job)
    except (Exception, SystemExit) as error:
        if has_lost_its_device(error):
            raise  # this process cannot go on; the next one can, and takes the job up again
        return broke(error, job)


def has_lost_its_device(error: BaseException) -> bool:
    """Whether CUDA or HIP will refuse all that this process asks from now on: an illegal address, a fault of the hardware."""
    if not isinstance(error, RuntimeError) or not any(of in str(error) for of in ("CUDA error", "HIP error")):
        return False
    from .models.device_memory import is_out_of_memory

    return not is_out_of_memory(error)


def digest_made_with(models: str, request: RenderRequest) -> str:
    """Of the model set and the LoRAs, so that no picture goes on with others than it was begun with; empty where they are not
    there, which the renderer will say."""
    try:
        model_set = choose_model_set(models)
        return digest_making(request, model_set)
    except Refusal:
        return ""


def broke(error: BaseException, job: dict[str, Any]) -> JobFailed:
    log.error("job %s: %s", job["job_id"], traceback.format_exc())
    return JobFailed(**job, message=sentence_for(error)[:SENTENCE_LIMIT])


class JobWatcher:
    """Carries what the pipeline tells about one job to the gateway."""

    def __init__(self, work: RunJob, line: Line) -> None:
        self._job_id = work.job_id
        self._attempt = work.attempt
        self._line = line
        self._preview_s = -PREVIEW_INTERVAL_S  # when the last one was sent

    def progress(self, headway: Headway) -> None:
        self._line.pulse.beat()
        self._line.report(
            JobProgress(
                job_id=self._job_id,
                attempt=self._attempt,
                stage=headway.stage,
                level=headway.level,
                levels=headway.levels,
                step=headway.step,
                steps=headway.steps,
                fraction=min(max(float(headway.fraction), 0.0), 1.0),  # sums of shares may miss 1 by a rounding
            )
        )

    def preview(self, image: np.ndarray) -> None:
        now_s = time.monotonic()
        if now_s - self._preview_s < PREVIEW_INTERVAL_S:
            return
        self._preview_s = now_s
        width, height, jpeg = small_jpeg(image)
        self._line.report(JobPreview(job_id=self._job_id, attempt=self._attempt, width=width, height=height), jpeg)

    def check(self) -> None:
        self._line.pulse.beat()
        if self._line.halted(self._job_id, self._attempt):
            raise Stopped


def small_jpeg(image: np.ndarray) -> tuple[int, int, bytes]:
    """Width, height and bytes of a JPEG of `image`, uint8 or uint16 (H, W, 3), within the limits of a preview."""
    import cv2
    from PIL import Image

    shrink = min(1, PREVIEW_SIDE_PX / max(image.shape[:2]))
    size = [max(1, round(side * shrink)) for side in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # first, since all else copies the whole of it
    picture = Image.fromarray(image if image.dtype == np.uint8 else cv2.convertScaleAbs(image, alpha=1 / 257))
    side = PREVIEW_SIDE_PX
    while True:
        picture.thumbnail((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80)
        if buffer.tell() <= PREVIEW_LIMIT_BYTES:
            return picture.width, picture.height, buffer.getvalue()
        side = side * 3 // 4


def sentence_for(error: BaseException) -> str:
    """What to tell the user about a job that broke."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return f"The memory was not enough for this picture: choose a smaller size, or close other programs. ({error})"
    if isinstance(error, Refusal):
        return str(error) or "The request cannot be rendered; the worker's log says more."
    return f"The rendering broke off with {type(error).__name__}: {error}. The worker's log has the whole story."


def describe(device: "torch.device") -> DeviceInfo:
    """What a client is told about the device."""
    import torch

    if device.type != "cuda":  # which shares the machine's memory
        memory = find_memory()
        name = "Apple GPU" if device.type == "mps" else f"CPU, {core_count()} cores"
        return DeviceInfo(kind=device.type, name=name, total_bytes=memory.total, free_bytes=memory.available)
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    name = torch.cuda.get_device_name(device)
    return DeviceInfo(kind=device.type, name=name, total_bytes=total_bytes, free_bytes=free_bytes)
