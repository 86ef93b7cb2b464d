"""Ways to run the same networks faster on some devices: another layout, larger products, less precision, compiled blocks.

What they compute is the same but for rounding, which is coarse with 8-bit floats. None is on by default:
`beyondscene bench --tune` says what each is worth.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, FusedAttnProcessor2_0
from platformdirs import user_cache_path
from torch import Tensor, nn

from ...protocol import Refusal
from .float8 import check_device, from_float8, to_float8
from .load import Models

MOST_COMPILED = 128  # versions of a block
EXACT: WeakKeyDictionary[nn.Module, list[Tensor]] = WeakKeyDictionary()  # weights of a VAE that is halved, as they were


class Tuning(NamedTuple):
    """begin, end: change the networks, and make them what they were."""

    begin: Callable[[Models], None]
    end: Callable[[Models], None]


def unets_of(models: Models) -> list[Any]:
    """The base's and the inpainting one, which may be the same."""
    return list(dict.fromkeys((models.unet, models.inpainting)))


def lay_out(models: Models, memory_format: torch.memory_format) -> None:
    for network in (*unets_of(models), models.controlnet, models.vae):
        network.to(memory_format=memory_format)  # type: ignore[call-overload]


def lay_channels_last(models: Models) -> None:
    """Pixels of all channels side by side: what convolutions on tensor cores want."""
    lay_out(models, torch.channels_last)


def lay_channels_first(models: Models) -> None:
    lay_out(models, torch.contiguous_format)


def self_attention(models: Models) -> Iterator[Attention]:
    for unet in unets_of(models):
        yield from (one for one in unet.modules() if isinstance(one, Attention) and not one.is_cross_attention)


def fuse_projections(models: Models) -> None:
    """Query, key and value of the UNets' self-attention in one product. Cross-attention looks its keys and values up."""
    for attention in self_attention(models):
        attention.fuse_projections()
        attention.set_processor(FusedAttnProcessor2_0())  # type: ignore[arg-type]  # diffusers leaves it out of its union


def part_projections(models: Models) -> None:
    for attention in self_attention(models):
        attention.set_processor(AttnProcessor2_0())  # pyright: ignore[reportArgumentType]
        attention.fused_projections = False
        del attention.to_qkv


def take_float8(models: Models) -> None:
    """Raises Refusal where the device cannot."""
    check_device(models.device)
    for unet in unets_of(models):
        to_float8(unet)


def leave_float8(models: Models) -> None:
    for unet in unets_of(models):
        from_float8(unet)


def halve_vae(models: Models) -> None:
    """The VAE in the precision of the other networks, as one whose config.json says that it does not overflow there."""
    EXACT[models.vae] = [one.data for one in models.vae.parameters()]
    for parameter in models.vae.parameters():
        parameter.data = parameter.data.to(models.dtype)


def restore_vae(models: Models) -> None:
    for parameter, exact in zip(models.vae.parameters(), EXACT.pop(models.vae), strict=True):
        parameter.data = exact


def compile_blocks(models: Models) -> None:
    """The UNets' transformer blocks, once for all blocks alike, at their first call; later processes find them in a cache.

    It takes minutes, so it is nothing for a single small picture.
    """
    import torch._dynamo

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_path("beyondscene") / "compiled"))
    # All blocks share their code, which is compiled for each width and number of rows; after 8 of them torch would give up.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_COMPILED)
    for unet in unets_of(models):
        unet.compile_repeated_blocks(dynamic=False)


def run_uncompiled(models: Models) -> None:
    """torch keeps what was compiled, for the next time."""
    for unet in unets_of(models):
        for module in unet.modules():
            module._compiled_call_impl = None


TUNINGS = {
    "channels_last": Tuning(lay_channels_last, lay_channels_first),
    "fused": Tuning(fuse_projections, part_projections),
    "float8": Tuning(take_float8, leave_float8),
    "half_vae": Tuning(halve_vae, restore_vae),
    "compiled": Tuning(compile_blocks, run_uncompiled),
}


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
        for name in [one for one in TUNINGS if one in chosen]:
            stack.callback(TUNINGS[name].end, models)
            TUNINGS[name].begin(models)
        yield


def is_compiled(network: torch.nn.Module) -> bool:
    return any(getattr(module, "_compiled_call_impl", None) is not None for module in network.modules())
