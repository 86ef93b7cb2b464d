"""Ways to run the same networks faster on some devices: another layout, fewer and larger products, compiled blocks.

What they compute is the same but for rounding. None is on by default: `beyondscene bench --tune` says what each is worth.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from platformdirs import user_cache_path

from .load import Models


def unets_of(models: Models) -> list[Any]:
    """The base's and the inpainting one, which may be the same."""
    return list(dict.fromkeys((models.unet, models.inpainting)))


def lay_channels_last(models: Models) -> None:
    """Pixels of all channels side by side: what convolutions on tensor cores want."""
    for network in (*unets_of(models), models.controlnet, models.vae):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fuse_projections(models: Models) -> None:
    """Query, key and value of the UNets' attention in one product."""
    for unet in unets_of(models):
        unet.fuse_qkv_projections()


def compile_blocks(models: Models) -> None:
    """The UNets' transformer blocks, once for all blocks alike, at their first call; later processes find them in a cache.

    It takes minutes, so it is nothing for a single small picture.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_path("beyondscene") / "compiled"))
    for unet in unets_of(models):
        unet.compile_repeated_blocks(dynamic=False)


TUNINGS: dict[str, Callable[[Models], None]] = {
    "channels_last": lay_channels_last,
    "fused": fuse_projections,
    "compiled": compile_blocks,
}


def tune(models: Models, names: Iterable[str]) -> None:
    """Change the networks of `models` in place. Raises ValueError for a name that is no tuning, before any is done."""
    chosen = list(names)
    for name in chosen:
        if name not in TUNINGS:
            raise ValueError(f"There is no tuning '{name}': known are {', '.join(TUNINGS)}.")
    for name in chosen:
        TUNINGS[name](models)


def is_compiled(network: torch.nn.Module) -> bool:
    return any(getattr(module, "_compiled_call_impl", None) is not None for module in network.modules())
