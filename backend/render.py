"""From a request to a file: what the worker process and the command line call."""

import time
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..protocol import RenderRequest, StageTime, check_request, digest_of
from .models.load import Models, choose_device, load_models
from .models.sets import choose_model_set
from .pipeline import render, settle
from .watch import Checkpoints, RenderResult, Watcher

# IPTC's word for pictures made by a trained model; part of the provenance that files of this kind should carry.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


class Renderer:
    """Renders requests on one device and keeps the last model set loaded between them."""

    def __init__(self, device: str = "auto", extra: Sequence[Path] = ()) -> None:
        """device: "auto", "cpu", "cuda", "cuda:1", "mps". extra: folders of model sets beside the presets."""
        self.device, self.dtype = choose_device(device)
        self.extra = tuple(extra)
        self.models = lru_cache(maxsize=1)(self._load)

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
        check_request(request)
        model_set = choose_model_set(models, self.extra)
        watcher.progress("load")
        start = time.perf_counter()
        loaded = self.models(models)
        request = replace(request, settings=settle(request.settings, loaded.manifest))
        loading = StageTime(stage="load", seconds=time.perf_counter() - start)
        torch.manual_seed(request.seed)  # nothing should draw from it; if something does, it repeats
        image, progress = render(loaded, request, arrays, watcher, checkpoints)
        with progress.stage("write"):
            data = encode_png(image, request, model_set.name)
            path.write_bytes(data)
        return RenderResult(
            width=request.width,
            height=request.height,
            size_bytes=len(data),
            digest=digest_of(data),
            times=(loading, *progress.times),
        )

    def _load(self, models: str) -> Models:
        return load_models(choose_model_set(models, self.extra), self.device, self.dtype)


def encode_png(image: np.ndarray, request: RenderRequest, models: str) -> bytes:
    """A PNG that holds its own request under the keyword "beyondscene", and says that a model made it."""
    info = PngInfo()
    info.add_itxt("beyondscene", msgspec.json.encode({"models": models, "request": request}).decode(), zip=True)
    info.add_itxt("Digital Source Type", DIGITAL_SOURCE_TYPE)
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "png", pnginfo=info, compress_level=3)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def default_renderer() -> Renderer:
    """The renderer of this process, on the best device there is."""
    return Renderer()


def render_to_file(
    request: RenderRequest, arrays: dict[str, np.ndarray], models: str, path: Path, watcher: Watcher, checkpoints: Checkpoints
) -> RenderResult:
    """RenderToFile for the worker process."""
    return default_renderer()(request, arrays, models, path, watcher, checkpoints)
