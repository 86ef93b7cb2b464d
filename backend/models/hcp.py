"""The human-centric prior (HcP) layer (Wang et al. 2024, CVPR, arXiv 2403.05239): other keys for the words about people.

Beside a cross-attention's own keys, which stay as they are, a small network makes keys of the human-centric words alone. Where
a cell attends to such a word by these is added to where it attends anyway; training aligns it with bodies in their poses
(training/hcp.py), so that prompts alone know more of how people stand. The authors released no code: the sizes are ours.
"""

from pathlib import Path

import msgspec
import torch
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...protocol.whole import whole_file
from .device_memory import is_out_of_memory
from .manifest import ModelSetError

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class HcpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The file config.json of the role `hcp`. reduction: the keys' width over that of the network's middle."""

    format: int = 1
    reduction: int = 4


class HcpLayer(nn.Module):
    """Keys from text embeddings: three linear layers, the middle one narrow, as the paper's overview draws them."""

    def __init__(self, text_width: int, key_width: int, reduction: int) -> None:
        super().__init__()
        middle = max(1, key_width // reduction)
        self.layers = nn.Sequential(
            nn.Linear(text_width, key_width), nn.SiLU(), nn.Linear(key_width, middle), nn.SiLU(), nn.Linear(middle, key_width)
        )

    def forward(self, text: Tensor, human: Tensor) -> Tensor:
        """(..., tokens, key_width); 0 but for human-centric words.

        text: (..., tokens, text_width). human: (..., tokens), 1 for such words, else 0. The others stay in the softmax, with
        keys of 0: over a single word it would be 1 everywhere and tell nothing.
        """
        human = human[..., None].to(text.dtype)
        return self.layers(text * human) * human


def cross_attention(unet: nn.Module) -> dict[str, Attention]:
    """Its layers that attend to the text, by name."""
    return {name: layer for name, layer in unet.named_modules() if isinstance(layer, Attention) and layer.is_cross_attention}


def attach_hcp(unet: nn.Module, config: HcpConfig) -> nn.ModuleDict:
    """Give each cross-attention of `unet` a layer `hcp`, which goes where it goes; return them by name, dots written as "/"."""
    layers = nn.ModuleDict()
    for name, attention in cross_attention(unet).items():
        layer = HcpLayer(attention.cross_attention_dim, attention.inner_dim, config.reduction)
        attention.hcp = layer.to(attention.to_q.weight)  # type: ignore[assignment]
        layers[name.replace(".", "/")] = layer
    return layers


def save_hcp(layers: nn.ModuleDict, config: HcpConfig, folder: Path) -> None:
    """Write weights in half precision and config.json to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in layers.state_dict().items()}
    tensors = {name.replace("/", "."): tensor for name, tensor in halves.items()}
    with whole_file(folder / WEIGHTS) as partial:
        save_file(tensors, partial, {"format": "pt"})
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def load_hcp(unet: nn.Module, folder: Path) -> None:
    """Attach to `unet` what save_hcp wrote. Raises ModelSetError for layers of another UNet."""
    try:
        config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=HcpConfig)
        layers = attach_hcp(unet, config)
        tensors = load_file(folder / WEIGHTS)
        names = {name.replace("/", "."): name for name in layers.state_dict()}
        layers.load_state_dict({names.get(name, name): tensor for name, tensor in tensors.items()})
    except (OSError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelSetError(
            f"{folder} does not fit the base model ({type(error).__name__}): it holds HcP layers of another UNet, or something "
            "else. Train them with `beyondscene train hcp`, or leave the role hcp out."
        ) from error
    layers.eval().requires_grad_(False)
