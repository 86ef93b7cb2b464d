"""Floating-point operations and network evaluations, counted while a picture is made.

A network's call with arguments of one shape and the same LoRAs always costs the same, so only the first of these is run under
torch's counter, which slows it down; later ones are looked up. The VAE runs layer by layer over tiles of many shapes, and is
counted throughout.
1 multiply-add = 2 operations; only matrix products, convolutions and attention count, as in torch's counter.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..models.load import Models
from ..pipeline import latents
from ..pipeline.text_cache import is_compiled

Signature = tuple[Any, ...]
Shape = tuple[int, ...]


class Counted(NamedTuple):
    """flop: operations. evaluations: rows of batches that went through the UNet; a guided pair counts twice.

    unet_flop: those within the UNet. unet_seconds: between its calls' beginnings and ends, on the device where that is a GPU.
    """

    flop: int
    evaluations: int
    unet_flop: int
    unet_seconds: float


class Counter:
    """Adds up what the networks of `models` do, to be read and cleared whenever the device does nothing."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._known: dict[Signature, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._flop = self._evaluations = self._unet_flop = 0
        self._spans: list[tuple[Any, Any]] = []

    def take(self) -> Counted:
        """What was done since the last call. All of it must have ended."""
        seconds = sum(seconds_between(*span) for span in self._spans)
        counted = Counted(self._flop, self._evaluations, self._unet_flop, seconds)
        self._clear()
        return counted

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Within, calls of the networks count; the networks are left as they were."""
        models = self.models
        unets = {id(unet): unet for unet in (models.unet, models.inpainting)}
        others = (models.controlnet, models.controlnet.controlnet_cond_embedding, *models.text_encoders)
        with ExitStack() as stack:
            for name, network in enumerate([*unets.values(), *others]):
                forward = self._count_calls(network, name, is_unet=id(network) in unets)
                stack.enter_context(replaced(network, "forward", forward))
            stack.enter_context(replaced(latents, "run_tiled", self._count_tiles(latents.run_tiled)))
            yield

    def _count_calls(self, network: nn.Module, name: int, is_unet: bool) -> Callable[..., Any]:
        forward = network.forward

        def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, int]:
            signature = (name, self.models.adapters.active, shapes_of((args, kwargs)))
            if signature in self._known:
                return forward(*args, **kwargs), self._known[signature]
            eagerly = torch.compiler.set_stance("force_eager") if is_compiled(network) else nullcontext()
            with eagerly, count_flop() as counter:  # what is compiled is counted before it is compiled
                output = forward(*args, **kwargs)
            self._known[signature] = counter.get_total_flops()
            return output, self._known[signature]

        def count(*args: Any, **kwargs: Any) -> Any:
            begin = mark(self.models.device)
            output, flop = run(args, kwargs)
            self._flop += flop
            if is_unet:
                self._spans.append((begin, mark(self.models.device)))
                self._evaluations += len(args[0])
                self._unet_flop += flop
            return output

        return count

    def _count_tiles(self, run_tiled: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def count(*args: Any, **kwargs: Any) -> Iterator[Any]:
            tiles = run_tiled(*args, **kwargs)
            while True:
                with count_flop() as counter:
                    tile = next(tiles, None)
                self._flop += counter.get_total_flops()
                if tile is None:
                    return
                yield tile

        return count


def mark(device: torch.device) -> Any:
    """Now, for `seconds_between`: where the device is a GPU, when it will have come to here. Nobody waits for it."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def seconds_between(begin: Any, end: Any) -> float:
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000


def count_flop() -> FlopCounterMode:
    """torch's counter, told of the attention that it knows on GPUs only."""
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={on_cpu: count_attention})


def count_attention(query: Shape, key: Shape, value: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def shapes_of(value: Any) -> Signature:
    """What the cost of a call depends on: the shapes of all tensors among its arguments."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        return tuple((key, shapes_of(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return tuple(shapes_of(one) for one in value)
    return ()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within, the attribute `name` of a module, of Python's or of torch's, is `value`."""
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
