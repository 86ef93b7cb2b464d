"""What computes: its name, beside results that another machine would come to otherwise, or sooner."""

import os
import platform
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """A GPU's name, or the processor's and how many logical cores there are."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {os.cpu_count()} logical cores"


def cpu_name() -> str:
    """As Linux tells it; elsewhere what Python knows."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def name_precision(dtype: torch.dtype) -> str:
    """As `--precision` has it, e.g. "bfloat16"."""
    return str(dtype).removeprefix("torch.")
