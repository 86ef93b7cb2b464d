"""Eight bits for each weight of UNet and ControlNet, most of a model set's size: they learn with what their files will hold.

e4m3 floats, as diffusers and safetensors know them, need no scale here: of weights whose deviation is .02 to .3 it keeps 31 dB.
Libraries that read the file widen them. Biases, norms, and the first and last layers, which are few, stay in half precision.
"""

from types import TracebackType

import torch
from torch import Tensor, nn

STORED = torch.float8_e4m3fn
FEWEST = 4096  # weights of a matrix worth it


def matrices(*networks: nn.Module) -> list[nn.Parameter]:
    """The weights that are stored in eight bits: those of two and more dimensions, but for small ones."""
    weights = [parameter for network in networks for parameter in network.parameters()]
    return [weight for weight in weights if weight.ndim > 1 and weight.numel() >= FEWEST]


def narrow(network: nn.Module) -> None:
    """Store `network` as its file will: it cannot be run any more."""
    for parameter in matrices(network):
        parameter.data = parameter.data.to(STORED)


class Rounded:
    """Within, weights are those that the file would hold; afterwards what they were, for the step that they were asked for.

    Gradients found within are the rounded weights' and are taken for the others' (straight-through, arXiv 1308.3432).
    """

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self.weights: list[Tensor] = [*weights]
        self.exact: list[Tensor] = []

    def __enter__(self) -> None:
        with torch.no_grad():
            self.exact = [weight.detach().clone() for weight in self.weights]
            torch._foreach_copy_(self.weights, [weight.to(STORED).float() for weight in self.exact])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.weights, self.exact)
