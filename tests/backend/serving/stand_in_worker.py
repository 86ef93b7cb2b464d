"""A worker process with a deterministic painter in place of the pipeline; the scene prompt says how it behaves."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from beyondscene.backend.watch import RenderResult, Watcher
from beyondscene.backend.worker import run_worker
from beyondscene.protocol import RenderRequest, StageTime, digest_of
from PIL import Image

STEP_S = 0.01


def render(request: RenderRequest, arrays: dict[str, np.ndarray], models: str, path: Path, watcher: Watcher) -> RenderResult:
    words = request.prompt.split()
    steps = request.settings.steps or 20
    if "boom" in words:
        raise KeyError("a slip")
    if "careless" in words:
        raise ValueError("The scene is careless: take care.")
    if "exit" in words:
        sys.exit(3)
    if "fatal" in words:
        os._exit(7)
    random = np.random.default_rng(request.seed)
    canvas = np.zeros((request.height, request.width, 3), np.float64)
    for step in range(steps):
        watcher.check()
        canvas += random.random(canvas.shape)
        watcher.progress("enlarge", level=1, levels=1, step=step + 1, steps=steps, fraction=(step + 1) / steps)
        watcher.preview((canvas / (step + 1) * 255).astype(np.uint8))
        if "fragile" in words and step == 3 and "attempt-1" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        while "stuck" in words:
            time.sleep(0.1)
        time.sleep(STEP_S)
    Image.fromarray((canvas / steps * 255).astype(np.uint8)).save(path)
    data = path.read_bytes()
    return RenderResult(
        width=request.width,
        height=request.height,
        size_bytes=len(data),
        digest=digest_of(data),
        times=(StageTime(stage="enlarge", level=1, seconds=steps * STEP_S),),
    )


if __name__ == "__main__":
    raise SystemExit(run_worker(render))
