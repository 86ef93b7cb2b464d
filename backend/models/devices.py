"""The devices of this machine, and the precision that suits each: one rule for pictures, measurements and training."""

import re

import torch

from ...protocol import Refusal
from .memory_saving import DEVICE_NAME, Precision, check_precision


def choose_device(name: str = "auto", precision: Precision = "auto") -> tuple[torch.device, torch.dtype]:
    """The device called `name`, or the best there is, and `precision`, or the one that suits it.

    Raises Refusal for a device that this machine or this build of torch lacks, and for a precision that it is no good at.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(DEVICE_NAME, name):
        raise Refusal(f"'{name}' is no device: write auto, cpu, mps, cuda, or cuda:1 for the second.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise Refusal(f"The device '{name}' is not to be had: torch {torch.__version__} sees no Apple GPU. Use cpu instead.")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise Refusal(f"The device '{name}' is not to be had: torch {torch.__version__} sees no CUDA device. Use cpu instead.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Refusal(f"The device '{name}' is not to be had: choose one of {', '.join(list_devices())}.")
    check_precision(device.type, precision)
    if precision == "auto":
        half = "bfloat16" if device.type == "cuda" and has_bfloat16(device) else "float16"
        precision = "float32" if device.type == "cpu" else half
    return device, getattr(torch, precision)


def has_bfloat16(device: torch.device) -> bool:
    """NVIDIA's GPUs before 2020 only emulate it. torch's own `is_bf16_supported` asks the current device, not a given one."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)


def list_devices() -> tuple[str, ...]:
    """The names of all devices of the best kind that there is on this machine."""
    if torch.cuda.is_available():
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return ("mps",) if torch.backends.mps.is_available() else ("cpu",)


def make_current(device: torch.device) -> None:
    """What says "cuda" without a number means `device`, from now on and in the whole process."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
