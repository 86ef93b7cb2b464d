"""One alpha for all layers of a LoRA: where they differ, diffusers and peft wear some layers at another's strength."""

from collections import Counter

from torch import Tensor

UP = ("lora_up.weight", "lora_B.weight", "lora.up.weight")  # as kohya's trainer, peft and older diffusers call the second half


def level_alphas(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same LoRA with the most common alpha in every layer; what a layer's own was beside it is in its weights.

    state: a file's tensors by name. A layer is worn at alpha over its rank; files whose ranks were cut layer by layer have
    alphas that differ, and diffusers 0.42 loses whose is whose on the way to peft. Without such alphas it is `state` itself.
    """
    alphas = {name: float(tensor) for name, tensor in state.items() if name.endswith(".alpha") and tensor.numel() == 1}
    if len(set(alphas.values())) < 2:
        return state
    common = Counter(alphas.values()).most_common(1)[0][0]
    levelled = dict(state)
    for name, alpha in alphas.items():
        layer = name.removesuffix("alpha")
        up = next((layer + end for end in UP if layer + end in state), None)
        if up is not None and common:
            weight = state[up]
            levelled[up] = (weight.float() * (alpha / common)).to(weight.dtype)
            levelled[name] = state[name].new_tensor(common)
    return levelled
