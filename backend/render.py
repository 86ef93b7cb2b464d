"""From a request to a file: what the worker process and the command line call."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..protocol import RenderRequest, StageTime, digest_of_file
from .hardware import name_precision
from .memory import OutOfMemory, free_cached, retry_with_less_memory, what_would_fit, what_would_load
from .models.device_memory import hold_to_the_card, is_out_of_memory
from .models.devices import choose_device
from .models.extras import fingerprint_extras
from .models.fingerprint import fingerprint_manifest, fingerprint_schedule, stamp_files
from .models.load import Models, load_models
from .models.memory_saving import FALLBACKS, OFFLOADS, MemorySaving, Offload, Precision
from .models.sets import ModelSet, choose_model_set, find_model_sets
from .outputs import Layer, Picture, Record, choose_format, make_record, write_picture
from .pipeline import Progress, render
from .planning.accept import accept_request
from .planning.people import Figure
from .version import app_version
from .watch import Checkpoints, Headway, NoCheckpoints, RenderResult, Watcher


class Renderer:
    """Renders requests on one device and keeps the last model set loaded between them."""

    def __init__(
        self,
        device: str = "auto",
        *,
        precision: Precision = "auto",
        offload: Offload = "none",
        write: Callable[[Path, Picture, Record], None] = write_picture,
    ) -> None:
        """device: "auto", "cpu", "cuda", "cuda:1", "mps".

        precision: of the UNet, the ControlNet and the text encoders; "auto" suits the device.
        offload: which networks wait in host memory, where there is room for more, too; see DevicePlacement.
        write: brings a picture to its place.
        """
        self.device, self.dtype = choose_device(device, precision)
        hold_to_the_card(self.device)
        self.offload: Offload = offload
        self._write = write
        self._loaded: tuple[tuple, Models] | None = None  # what they were loaded from, and they
        self._rung = 0  # of FALLBACKS, to which the pictures of the loaded models have come

    def __call__(
        self,
        request: RenderRequest,
        arrays: dict[str, np.ndarray],
        models: str,
        path: Path,
        watcher: Watcher,
        checkpoints: Checkpoints | None = None,
    ) -> RenderResult:
        """As RenderToFile. Raises RequestError or ModelSetError before any work, for what the user can put right."""
        picture_format = choose_format(path)
        model_set = choose_model_set(models)
        request, extras = accept_request(request, model_set)
        weights = fingerprint_extras(extras)  # now: whoever tidies up while it is drawn does not lose the picture
        watcher.progress(Headway(stage="load"))
        start = time.perf_counter()
        loaded = self.models(model_set)
        loading = StageTime(stage="load", seconds=time.perf_counter() - start)
        torch.manual_seed(request.seed)  # nothing should draw from it; if something does, it repeats

        def attempt(memory_saving: MemorySaving) -> tuple[np.ndarray, list[Figure], Progress]:
            offload = OFFLOADS[max(map(OFFLOADS.index, (memory_saving.offload, self.offload)))]
            if loaded.placement.offload != offload:
                loaded.placement.change(offload)
            with loaded.adapters.loaded(extras):  # which takes memory, too
                saving = dataclasses.replace(loaded, memory_saving=memory_saving)
                return render(saving, request, arrays, watcher, checkpoints, picture_format.DTYPE)

        kept = checkpoints or NoCheckpoints()
        made, self._rung = retry_with_less_memory(attempt, kept, lambda: what_would_fit(loaded, request), self._rung)
        image, figures, progress = made
        made_with = dataclasses.replace(loaded, memory_saving=FALLBACKS[self._rung])
        with progress.stage("write"):
            layers = tuple(Layer(figure.person.character.id, figure.mask) for figure in reversed(figures))
            self._write(path, Picture(image, layers), record_making(made_with, request, arrays, weights))
        return RenderResult(
            width=request.width,
            height=request.height,
            media_type=picture_format.MEDIA_TYPE,
            size_bytes=path.stat().st_size,
            digest=digest_of_file(path),
            times=(loading, *progress.times),
            remarks=tuple(progress.remarks),
        )

    def models(self, chosen: ModelSet) -> Models:
        """The model set, in host memory where it was not loaded yet. Raises OutOfMemory where there is no room for it."""
        source = (chosen, stamp_files(chosen))
        if self._loaded is None or self._loaded[0] != source:
            self._loaded, self._rung = None, 0  # before, so that there is room for one, not for two
            free_cached()
            try:
                self._loaded = source, load_models(chosen, self.device, self.dtype, "networks")
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                words = str(error).split("\n", 1)[0]
                raise OutOfMemory(f"{what_would_load(chosen, find_model_sets())} ({words})") from None
        return self._loaded[1]


def record_making(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], extras: dict[str, str]) -> Record:
    """What the file of a picture is to say. request: with its settings resolved. extras: see fingerprint_extras."""
    precision = name_precision(models.dtype)
    made_with = f"beyondscene {app_version()}, torch {torch.__version__}, {models.device}, {precision}"
    return make_record(
        request,
        arrays,
        models.manifest.name,
        models.fingerprints | extras,
        made_with,
        memory=models.memory_saving.name,
        precision=precision,
        schedule=fingerprint_schedule(models.scheduler_config),
        manifest=fingerprint_manifest(models.manifest),
    )
