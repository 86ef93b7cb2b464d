"""Ways to run the same networks faster on some devices: another layout, larger products, less precision, compiled blocks.

What they compute is the same but for rounding, which is coarse with 8-bit floats. None is on by default:
`beyondscene bench --tune` says what each is worth.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, FusedAttnProcessor2_0
from torch import nn

from ...protocol import Refusal
from ..home import user_cache_path
from ..models.load import Models
from .float8 import check_device, from_float8, to_float8

MOST_COMPILED = 128  # versions of a block


@contextmanager
def channels_last(models: Models) -> Iterator[None]:
    """Pixels of all channels side by side: what convolutions on tensor cores want."""
    networks = [network for network in (*unets_of(models), models.controlnet, models.vae) if not is_channels_last(network)]
    lay_out(networks, torch.channels_last)
    try:
        yield
    finally:
        lay_out(networks, torch.contiguous_format)


def is_channels_last(network: nn.Module) -> bool:
    """Whether its convolutions are laid out so, as those of a VAE are that is loaded in bfloat16 on a CPU."""
    kernels = (weight for weight in network.parameters() if weight.dim() == 4 and weight.shape[-1] > 1)
    return next(kernels).is_contiguous(memory_format=torch.channels_last)


def lay_out(networks: Iterable[nn.Module], memory_format: torch.memory_format) -> None:
    for network in networks:
        network.to(memory_format=memory_format)  # type: ignore[call-overload]


@contextmanager
def fused(models: Models) -> Iterator[None]:
    """Query, key and value of the UNets' self-attention in one product. Cross-attention looks its keys and values up."""
    modules = [module for unet in unets_of(models) for module in unet.modules()]
    attentions = [module for module in modules if isinstance(module, Attention) and not module.is_cross_attention]
    for attention in attentions:
        attention.fuse_projections()
        attention.set_processor(FusedAttnProcessor2_0())  # type: ignore[arg-type]  # diffusers leaves it out of its union
    try:
        yield
    finally:
        for attention in attentions:
            attention.set_processor(AttnProcessor2_0())  # pyright: ignore[reportArgumentType]
            attention.fused_projections = False
            del attention.to_qkv


@contextmanager
def float8(models: Models) -> Iterator[None]:
    """The linear layers of the UNets' blocks in 8-bit floats. Raises Refusal where the device cannot."""
    check_device(models.device)
    for unet in unets_of(models):
        to_float8(unet)
    try:
        yield
    finally:
        for unet in unets_of(models):
            from_float8(unet)


@contextmanager
def half_vae(models: Models) -> Iterator[None]:
    """The VAE in the precision of the other networks, as one whose config.json says that it does not overflow there."""
    exact = [parameter.data for parameter in models.vae.parameters()]
    for parameter in models.vae.parameters():
        parameter.data = parameter.data.to(models.dtype)
    try:
        yield
    finally:
        for parameter, before in zip(models.vae.parameters(), exact, strict=True):
            parameter.data = before


@contextmanager
def compiled(models: Models) -> Iterator[None]:
    """The UNets' transformer blocks, once for all blocks alike, at their first call; later processes find them in a cache.

    It takes minutes, so it is nothing for a single small picture. torch keeps what was compiled, for the next time.
    """
    import torch._dynamo

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_path("beyondscene") / "compiled"))
    # All blocks share their code, which is compiled for each width and number of rows; after 8 of them torch would give up.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_COMPILED)
    for unet in unets_of(models):
        unet.compile_repeated_blocks(dynamic=False)
    try:
        yield
    finally:
        for unet in unets_of(models):
            for module in unet.modules():
                module._compiled_call_impl = None


def unets_of(models: Models) -> list[Any]:
    """The base's and the inpainting one, which may be the same."""
    return list(dict.fromkeys((models.unet, models.inpainting)))


TUNINGS = {tuning.__name__: tuning for tuning in (channels_last, fused, float8, half_vae, compiled)}


@contextmanager
def tuned(models: Models, names: Iterable[str]) -> Iterator[None]:
    """Within, the networks of `models` are changed, in the order of TUNINGS: layers are fused before they are exchanged.

    Raises Refusal for a name that is no tuning, before any is done, and for what the device cannot do.
    """
    chosen = set(names)
    for name in sorted(chosen):
        if name not in TUNINGS:
            raise Refusal(f"There is no tuning '{name}': known are {', '.join(TUNINGS)}.")
    with ExitStack() as stack:
        for name in [known for known in TUNINGS if known in chosen]:
            stack.enter_context(TUNINGS[name](models))
        yield
