"""Floating-point operations and network evaluations, counted while a picture is made.

A network's call with arguments of one shape and the same LoRAs always costs the same, so only the first of these is run under
torch's counter, which slows it down; later ones are looked up. So is each layer of the VAE, which runs over tiles, and each
cross-attention layer's reading of a text, which is kept beside the calls.
1 multiply-add = 2 operations; only matrix products, convolutions and attention count, as in torch's counter.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..models.load import Models
from ..pipeline import text_attention
from ..pipeline.text_attention import TextAttention, is_compiled, plain_cross_attention
from ..pipeline.vae_steps import Activations, Attend, Local, Norm

Signature = tuple[Any, ...]
Shape = tuple[int, ...]
T = TypeVar("T")
VAE_STEPS = ((Local, "layer"), (Norm, "norm"), (Attend, "attention"))  # and the layer that each is known by


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
        self._inside = False
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
        # SAM's encoder is called by itself, once for all words
        encoders = (getattr(network, "vision_encoder", None) for network in models.segmenter.networks)
        segmenting = (*models.segmenter.networks, *(encoder for encoder in encoders if encoder is not None))
        with ExitStack() as stack:
            for name, network in enumerate([*unets.values(), *others, *segmenting]):
                forward = self._count_calls(network, name, is_unet=id(network) in unets)
                stack.enter_context(replaced(network, "forward", forward))
            for step, layer in VAE_STEPS:
                stack.enter_context(replaced(step, "apply", self._count_steps(step.apply, layer)))
            stack.enter_context(replaced(text_attention, "project_text", self._count_texts(text_attention.project_text)))
            yield

    def _count_calls(self, network: nn.Module, name: int, is_unet: bool) -> Callable[..., Any]:
        forward = network.forward
        layers = plain_cross_attention(network)  # now, since each call is timed; those that look keys and values up cost less

        def count(*args: Any, **kwargs: Any) -> Any:
            if self._inside:  # a part of a network that counts as a whole
                return forward(*args, **kwargs)
            begin = mark(self.models.device)
            looked_up = any(isinstance(layer.processor, TextAttention) for layer in layers[:1])
            signature = (name, self.models.adapters.active, looked_up, shapes_of((args, kwargs)))
            output, flop = self._run(signature, lambda: forward(*args, **kwargs), is_compiled(network))
            if is_unet:
                self._spans.append((begin, mark(self.models.device)))
                self._evaluations += len(args[0])
                self._unet_flop += flop
            return output

        return count

    def _count_steps(self, apply: Callable[..., Activations], layer: str) -> Callable[..., Activations]:
        def count(step: Any, tile: Activations, pool: Tensor | None) -> Activations:
            signature = (getattr(step, layer), shapes_of((tile.hidden, pool)))
            return self._run(signature, lambda: apply(step, tile, pool))[0]

        return count

    def _count_texts(self, project: Callable[[Any, Tensor], T]) -> Callable[[Any, Tensor], T]:
        def count(attention: Any, hidden: Tensor) -> T:
            signature = (attention, self.models.adapters.active, shapes_of(hidden))
            return self._run(signature, lambda: project(attention, hidden))[0]

        return count

    def _run(self, signature: Signature, call: Callable[[], T], compiled: bool = False) -> tuple[T, int]:
        """What `call` returns, and its operations, which are added up. compiled: whether it runs what is to be compiled."""
        outer, self._inside = self._inside, True
        try:
            return self._run_once(signature, call, compiled)
        finally:
            self._inside = outer

    def _run_once(self, signature: Signature, call: Callable[[], T], compiled: bool) -> tuple[T, int]:
        if signature in self._known:
            output = call()
        else:
            eagerly = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
            with eagerly, count_flop() as counter:  # what is compiled is counted before it is compiled
                output = call()
            self._known[signature] = counter.get_total_flops()
        self._flop += self._known[signature]
        return output, self._known[signature]


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
        return tuple((key, shapes_of(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(shapes_of(part) for part in value)
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
