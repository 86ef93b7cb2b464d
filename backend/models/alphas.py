"""One alpha for all layers of a LoRA: where they differ, diffusers and peft apply some layers at another's strength."""

from collections import Counter
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, tensor

UP = ("lora_up.weight", "lora_B.weight", "lora.up.weight")  # as kohya's trainer, peft and older diffusers call the second half


def level_alphas(path: Path) -> dict[str, Tensor] | None:
    """The LoRA in `path` with the most common alpha in every layer; what a layer's own was beside it is in its weights.

    A layer is applied at alpha over its rank; files whose ranks were cut layer by layer have alphas that differ, and diffusers
    0.42 loses whose is whose on the way to peft. A layer without one is applied as it is, as if that were its rank, in which
    trainers agree; diffusers takes the others' for it. None where they do not differ: nothing but them is read then.
    """
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        found = {name: file.get_tensor(name) for name in names if name.endswith(".alpha")}
        alphas = {name: float(alpha) for name, alpha in found.items() if alpha.numel() == 1}
        for up, end in ((name, end) for name in names for end in UP if alphas and name.endswith(f".{end}")):
            alphas.setdefault(f"{up.removesuffix(end)}alpha", float(file.get_slice(up).get_shape()[1]))
    if len(set(alphas.values())) < 2:
        return None
    common = Counter(alphas.values()).most_common(1)[0][0]
    state = load_file(path)
    for name, alpha in alphas.items():
        layer = name.removesuffix("alpha")
        up = next((layer + end for end in UP if layer + end in state), None)
        if up is not None and common:
            weight = state[up]
            state[up] = (weight.float() * (alpha / common)).to(weight.dtype)
            state[name] = tensor(common)
    return state
