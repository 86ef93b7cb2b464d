"""The devices of this machine, and the precision that suits each: one rule for pictures, measurements and training."""

import re

import torch

from ...protocol import Refusal
from .memory_saving import DEVICE_NAME, Precision, check_precision

HIP_BFLOAT16 = ("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
# TU116 and TU117, Turing without tensor cores: github.com/pytorch/pytorch/issues/58123
NAN_IN_FLOAT16 = r"GTX 16|MX[45]50|\bT(4|5|6|10|12|20)00\b|\bT550|CMP 30HX"


def choose_device(name: str = "auto", precision: Precision = "auto") -> tuple[torch.device, torch.dtype]:
    """The device called `name`, or the best that this build of torch can run on, and `precision`, or the one that suits it.

    Raises Refusal for a device that this machine or this build of torch lacks, and for a precision that it is no good at.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and has_kernels(torch.device("cuda")) else list_devices()[0]
    if not re.fullmatch(DEVICE_NAME, name):
        raise Refusal(f"'{name}' is no device: write auto, cpu, mps, cuda, or cuda:1 for the second.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise Refusal(f"The device '{name}' is not to be had: torch {torch.__version__} sees no Apple GPU. Use cpu instead.")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise Refusal(f"The device '{name}' is not to be had: torch {torch.__version__} sees no CUDA device. Use cpu instead.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Refusal(f"The device '{name}' is not to be had: choose one of {', '.join(list_devices())}.")
    if device.type == "cuda" and not has_kernels(device):
        card, built_for = torch.cuda.get_device_name(device), ", ".join(torch.cuda.get_arch_list())
        raise Refusal(
            f"The device '{name}', {card}, is too old or too new for torch {torch.__version__}, built for {built_for}: "
            "install one that has code for it, as pytorch.org says, or use cpu instead."
        )
    check_precision(device.type, precision)
    return device, getattr(torch, suited_precision(device) if precision == "auto" else precision)


def suited_precision(device: torch.device) -> Precision:
    """Half precision on a GPU: bfloat16, but where that is emulated.

    torch's own `is_bf16_supported` asks the current device, not a given one, and says yes for all of AMD's; those before RDNA 3
    are several times as fast in float16.
    """
    if device.type != "cuda":
        return "float32" if device.type == "cpu" else "float16"
    if torch.version.hip:
        return "bfloat16" if torch.cuda.get_device_properties(device).gcnArchName.startswith(HIP_BFLOAT16) else "float16"
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 0):
        return "bfloat16"
    return "float32" if capability == (7, 5) and re.search(NAN_IN_FLOAT16, torch.cuda.get_device_name(device)) else "float16"


def has_kernels(device: torch.device) -> bool:
    """Whether this build of torch holds code for a GPU; `is_available` says so of all that the driver knows, and the first
    computation fails on the others."""
    built_for = torch.cuda.get_arch_list()
    if torch.version.hip:  # "gfx90a:xnack-" is a gfx90a
        name = torch.cuda.get_device_properties(device).gcnArchName.partition(":")[0]
        return not built_for or any(of.partition(":")[0] == name or "generic" in of for of in built_for)
    major, minor = torch.cuda.get_device_capability(device)
    for kind, number in (of.rstrip("af").split("_") for of in built_for):
        built = divmod(int(number), 10)
        if built <= (major, minor) and (built[0] == major or kind == "compute"):  # which the driver compiles for a newer one
            return True
    return not built_for


def list_devices() -> tuple[str, ...]:
    """The names of all devices of the best kind that this build of torch can run on."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    if found := tuple(f"cuda:{number}" for number in devices if has_kernels(torch.device("cuda", number))):
        return found
    return ("mps",) if torch.backends.mps.is_available() else ("cpu",)


def make_current(device: torch.device) -> None:
    """What says "cuda" without a number means `device`, from now on and in the whole process."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
