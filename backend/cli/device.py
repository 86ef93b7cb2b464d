"""Where a command computes, and how sparingly."""

import argparse
from typing import get_args

from ...protocol import Refusal
from ..models.thrift import OFFLOADS, Precision
from .arguments import device


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add_precision(parser)


def check_precision(kind: str, precision: Precision) -> None:
    """Raise Refusal for what a kind of device takes for ever to compute in. kind: "cpu", "cuda" or "mps"."""
    if kind == "cpu" and precision == "float16":
        raise Refusal("float16 is for GPUs, and over 30 times slower than float32 on a CPU: choose float32 or bfloat16 there.")


def add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of the large networks")


def add_offload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offload", choices=OFFLOADS, default="none",
        help="keep in host memory what is not at work: whole networks, or the layers of the large ones as well (slow); "
        "where the device turns out too small, that is done in any case",
    )  # fmt: skip
