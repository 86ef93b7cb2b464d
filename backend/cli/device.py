"""Where a command computes, and how sparingly."""

import argparse
from typing import get_args

from ..models.memory_saving import OFFLOADS, Precision, check_precision
from .arguments import device


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add_precision(parser)


def check_device(name: str, precision: Precision) -> None:
    """Raise Refusal for a named device that is not here, or not for this precision, before anything is read.

    torch is imported only where a GPU is named, without the libraries of the models, which take several times as long.
    """
    if name == "cpu":
        check_precision(name, precision)
    elif name != "auto":
        from ..models.devices import choose_device

        choose_device(name, precision)


def add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of the large networks")


def add_offload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offload", choices=OFFLOADS, default="none",
        help="keep in host memory what is not at work: whole networks, or the layers of the large ones as well (slow); "
        "where the device turns out too small, that is done in any case",
    )  # fmt: skip
