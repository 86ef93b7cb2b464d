"""The arguments of `beyondscene train embedded`, which `python -m beyondscene.backend.training` takes as well.

Needs torch and the model libraries only: machines that are lent for training lack the command line's other needs.
"""

import argparse
from pathlib import Path

import msgspec

DONE, OUT_OF_TIME = 0, 3


def add_arguments(parser: argparse.ArgumentParser, work: Path | None = None) -> None:
    """work: where renders and checkpoints go unless the command says so; None makes the command say it."""
    parser.add_argument("--work", type=Path, default=work, required=work is None, help="renders and checkpoints, about 5 GB")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model set")
    parser.add_argument("--start", type=Path, help="model set to go on from")
    parser.add_argument(
        "--further", choices=("vae", "segmenter", "denoiser"), action="append",
        help="with --start: what of it is trained further, the rest is kept; may be repeated; default: denoiser",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, help=f"stop after so long with exit code {OUT_OF_TIME}; call again to go on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--steps", type=int, help="of the denoiser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="run through all stages in a minute; the weights are of no use")


def run(asked: argparse.Namespace) -> int:
    """Train as `asked`, a line of JSON on standard output per event; return an exit code."""
    from .embedded import choose_device, tiny_settings, train_embedded, usual_settings

    make = tiny_settings if asked.tiny else usual_settings
    settings = make(asked.work, asked.out, choose_device(asked.device))
    denoiser = settings.denoiser if asked.steps is None else msgspec.structs.replace(settings.denoiser, steps=asked.steps)
    settings = msgspec.structs.replace(settings, start=asked.start, minutes=asked.minutes, seed=asked.seed, denoiser=denoiser)
    if asked.further:
        settings = msgspec.structs.replace(settings, further=frozenset(asked.further))
    done = train_embedded(settings, lambda event: print(msgspec.json.encode(event).decode(), flush=True))
    return DONE if done else OUT_OF_TIME
