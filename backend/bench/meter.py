"""Time, work and memory of each stage of a picture, told apart by what the pipeline tells whoever watches it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch
from msgspec import Struct

from ...protocol import Stage
from ..watch import Headway, NoWatcher
from .count import Counter

MIB = 2**20
SAMPLING_S = 0.02


class StageCost(Struct, frozen=True, kw_only=True):
    """level: 0 for the base image. evaluations: of the UNet, a guided pair counts twice. tflop: 10^12 operations.

    unet_seconds, unet_tflop: within the UNet alone.
    peak_device_mib: allocated by torch on a GPU, 0 without one. peak_host_mib: resident memory of the process.
    """

    stage: Stage
    level: int
    seconds: float
    evaluations: int
    tflop: float
    unet_seconds: float
    unet_tflop: float
    peak_device_mib: float
    peak_host_mib: float


class Meter(NoWatcher):
    """A Watcher that keeps what each stage costs. A stage ends where the next one begins.

    ended: told what each stage has cost once it has ended, so that something is known of a picture that breaks off.
    """

    def __init__(self, counter: Counter, device: torch.device, ended: Callable[[StageCost], None] = lambda cost: None) -> None:
        self.costs: list[StageCost] = []
        self._counter, self._device, self._ended = counter, device, ended
        self._now: tuple[Stage, int] | None = None
        self._start_s = 0.0
        self._host = HostPeak()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Within, a picture is made."""
        with self._host.sampling(), self._counter.counting():
            self._begin(("load", 0))
            yield
            self._end()

    def progress(self, headway: Headway) -> None:
        if (headway.stage, headway.level) != self._now:
            self._end()
            self._begin((headway.stage, headway.level))

    def _begin(self, now: tuple[Stage, int]) -> None:
        self._now = now
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._counter.take()
        self._host.restart()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._start_s = time.perf_counter()

    def _end(self) -> None:
        assert self._now is not None
        peak_device = 0
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            peak_device = torch.cuda.max_memory_allocated(self._device)
        seconds = time.perf_counter() - self._start_s
        work = self._counter.take()
        stage, level = self._now
        self.costs.append(
            StageCost(
                stage=stage,
                level=level,
                seconds=seconds,
                evaluations=work.evaluations,
                tflop=work.flop / 1e12,
                unet_seconds=work.unet_seconds,
                unet_tflop=work.unet_flop / 1e12,
                peak_device_mib=peak_device / MIB,
                peak_host_mib=self._host.peak / MIB,
            )
        )
        self._ended(self.costs[-1])


class HostPeak:
    """The most memory that this process had resident, in bytes, looked up every few milliseconds."""

    def __init__(self) -> None:
        self.peak = 0
        self._process = psutil.Process()

    def restart(self) -> None:
        self.peak = self._process.memory_info().rss

    @contextmanager
    def sampling(self) -> Iterator[None]:
        over = threading.Event()

        def sample() -> None:
            while not over.wait(SAMPLING_S):
                self.peak = max(self.peak, self._process.memory_info().rss)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def measure_ceiling(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """FLOP/s of the device at its best: a large square matrix product of random numbers, the fastest of several.

    Single precision is TF32 where the device's convolutions are that, which on GPUs torch lets them be unless it is told.
    size: of the matrices; None for one that fills the device.
    """
    with products_as_convolutions():
        return time_product(device, dtype, size or (8192 if device.type == "cuda" else 1024))


@contextmanager
def products_as_convolutions() -> Iterator[None]:
    """Within, matrix products in single precision are in TF32 if convolutions are."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def time_product(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOP/s of a matrix product, the fastest of several."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best_s = float("inf")
    for _ in range(6):  # the first one warms up
        start_s = time.perf_counter()
        torch.matmul(one, other)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best_s = min(best_s, time.perf_counter() - start_s)
    return 2 * size**3 / best_s
