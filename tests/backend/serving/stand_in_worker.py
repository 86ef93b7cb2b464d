"""A worker process with a deterministic painter in place of the pipeline; the scene prompt says how it behaves.

Each step that it does is a line "<job id> <step>" in `<data>/steps.log`. Its arguments are the devices of the
machine that it seems to run on.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from beyondscene.backend.models.memory_saving import KEY
from beyondscene.backend.outputs import Picture, choose_format
from beyondscene.backend.watch import Arrays, Checkpoints, Headway, RenderResult, Watcher
from beyondscene.backend.worker import run_worker
from beyondscene.protocol import Refusal, RenderRequest, StageTime, digest_of
from PIL import Image

STEP_S = 0.01
UNIT_STEPS = 5  # from one checkpoint to the next


def render(
    request: RenderRequest, arrays: Arrays, models: str, path: Path, watcher: Watcher, checkpoints: Checkpoints
) -> RenderResult:
    words = request.prompt.split()
    steps = request.settings.steps or 20
    job_id, _, attempt = path.parent.name.partition(".attempt-")
    if "boom" in words:
        raise KeyError("a slip")
    if "greedy" in words:
        np.ones(2**50)
    if "careless" in words:
        raise Refusal("The scene is careless: take care.")
    if "exit" in words:
        sys.exit(3)
    if "fatal" in words:
        os._exit(7)
    if "large" in words and checkpoints.get(KEY) is None:
        (path.parents[2] / "vmstat").write_text("pgfault 7\noom_kill 1\n")
        os.kill(os.getpid(), signal.SIGKILL)
    kept = None if "forgetful" in words else checkpoints.get("canvas")
    kept = kept or {"canvas": np.zeros((request.height, request.width, 3)), "steps": np.array(0)}
    canvas, done = kept["canvas"], int(kept["steps"])
    with (path.parents[2] / "steps.log").open("a", buffering=1) as log:
        for step in range(done, steps):
            watcher.check()
            canvas += np.random.default_rng((request.seed, step)).random(canvas.shape)
            log.write(f"{job_id} {step}\n")
            watcher.progress(
                Headway(stage="enlarge", level=1, levels=1, step=step + 1, steps=steps, fraction=(step + 1) / steps)
            )
            watcher.preview((canvas / (step + 1) * 255).astype(np.uint8))
            if (step + 1) % UNIT_STEPS == 0:
                checkpoints.put("canvas", {"canvas": canvas, "steps": np.array(step + 1)})
            if "fragile" in words and step == 8 * int(attempt):  # so each attempt gets a little further
                os.kill(os.getpid(), signal.SIGKILL)
            if "forgetful" in words and step == 12:  # having kept what no other attempt takes up
                os.kill(os.getpid(), signal.SIGKILL)
            while "stuck" in words or ("stumbles" in words and attempt == "1" and step == 12):
                time.sleep(0.1)
            time.sleep(STEP_S)
    image = (canvas / steps * 255).astype(np.uint8)
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    else:
        choose_format(path).write(path, Picture(image), "{}")
    data = path.read_bytes()
    if "unlucky" in words and attempt == "1":  # the picture is written, nobody knows
        os.kill(os.getpid(), signal.SIGKILL)
    return RenderResult(
        width=request.width,
        height=request.height,
        media_type=choose_format(path).MEDIA_TYPE,
        size_bytes=len(data),
        digest=digest_of(data),
        times=(StageTime(stage="enlarge", level=1, seconds=steps * STEP_S),),
    )


if __name__ == "__main__":
    raise SystemExit(run_worker(render, tuple(sys.argv[1:]) or ("cpu",)))
