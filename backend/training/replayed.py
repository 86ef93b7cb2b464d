"""Replay a step's work as one CUDA graph: thousands of small kernels take longer to launch one by one than to run."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]

_ALIKE = 0.05  # of the outputs' length that a first replay may be off by: sums of bfloat16 in another order


class Replayed:
    """A function of tensors on a CUDA device, recorded once for each combination of their shapes and replayed after that.

    It must wait for nothing and take all that changes from its arguments or from memory that stays in place. What it returns is
    overwritten by the next call. A combination is run as it is when it first comes and recorded when it comes again. Where
    recording fails, or a first replay brings something else, every further call runs as it is.
    """

    def __init__(self, function: Callable[..., Outputs], report: Callable[[dict], None]) -> None:
        self.function, self.report = function, report
        self.seen: Counter[tuple] = Counter()
        self.recorded: dict[tuple, tuple[torch.cuda.CUDAGraph, list[Tensor], Outputs]] = {}
        self.pool = None
        self.broken = False

    def __call__(self, *inputs: Tensor) -> Outputs:
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if shapes in self.recorded:
            return self._replay(shapes, inputs)
        outputs = self.function(*inputs)
        self.seen[shapes] += 1
        if self.broken or self.seen[shapes] < 2:
            return outputs
        if not all(bool(torch.isfinite(tensor).all()) for tensor in outputs):
            return outputs  # nothing to compare a replay with
        try:
            self._record(shapes, inputs)
            off = distance(self._replay(shapes, inputs), outputs)
            if not off < _ALIKE:
                raise RuntimeError(f"a replay is off by {off:.3g}")
            self.report({"recorded": len(self.recorded), "off": off})
        except RuntimeError as error:
            self.broken = True
            self.recorded.clear()
            self.report({"not_recorded": str(error).splitlines()[0]})
        return outputs

    def _record(self, shapes: tuple, inputs: tuple[Tensor, ...]) -> None:
        held = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        # Others, who pin batches, may call the driver meanwhile. Graphs share their memory: one is replayed at a time.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            outputs = self.function(*held)
        self.recorded[shapes] = graph, held, outputs

    def _replay(self, shapes: tuple, inputs: tuple[Tensor, ...]) -> Outputs:
        graph, held, outputs = self.recorded[shapes]
        for place, tensor in zip(held, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return outputs


def distance(some: Outputs, others: Outputs) -> float:
    """Return the length of the difference as a share of the others' length: of numbers or of the rest, whichever is more."""
    squares = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for a, b in zip(some, others, strict=True):
        of = squares[b.ndim == 0]
        of[0] += float((a.float() - b.float()).square().sum())
        of[1] += float(b.float().square().sum())
    return max((between / max(length, 1e-24)) ** 0.5 for between, length in squares.values())
