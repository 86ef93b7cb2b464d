"""Train a model of this project."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from ...protocol import Refusal
from ..home import user_cache_path
from ..machine import core_count
from ..training.under_way import OutOfTime, print_event, telling_of_files
from . import DONE, STOPPED
from .arguments import amount
from .target import check_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models = parser.add_subparsers(dest="model", required=True, metavar="{embedded,few-steps,hcp}")

    embedded = models.add_parser("embedded", help="the tiny model that ships with the package, from nothing")
    add_common(embedded, "of the denoiser, or of what --further names")
    embedded.add_argument("--out", type=Path, required=True, help="folder for the finished model set")
    embedded.add_argument("--start", type=Path, help="model set to go on from")
    embedded.add_argument(
        "--further", choices=("vae", "decoder", "segmenter", "denoiser"), action="append",
        help="with --start: what of it is trained further, the rest is kept; may be repeated; default: denoiser",
    )  # fmt: skip
    embedded.add_argument(
        "--render-only",
        action="store_true",
        help=f"stop with exit code {STOPPED} when the views are rendered, which takes no GPU",
    )
    embedded.add_argument("--fit", action="store_true", help="with --minutes: no more steps of the denoiser than fit them")
    embedded.add_argument("--tiny", action="store_true", help="run through all stages in a minute; the weights are of no use")
    embedded.set_defaults(train=run_embedded)

    few_steps = models.add_parser("few-steps", help="its LoRA, with which it draws in a few steps")
    add_common(few_steps, "of the training")
    few_steps.add_argument(
        "--models", type=Path, required=True, help="folder of an embedded model, where the LoRA is written, too"
    )
    few_steps.set_defaults(train=run_few_steps)

    hcp = models.add_parser("hcp", help="its HcP layers, which attend to the words about people")
    add_common(hcp, "of the training")
    words = "folder of an embedded model, whose role hcp says where the layers are written"
    hcp.add_argument("--models", type=Path, required=True, help=words)
    words = "folder of a ResNet in transformers' format, as microsoft/resnet-50, that sees the poses; default: limbs as drawn"
    hcp.add_argument("--reference", type=Path, help=words)
    hcp.set_defaults(train=run_hcp)


def add_common(parser: argparse.ArgumentParser, steps: str) -> None:
    """steps: of what `--steps` are."""
    work = user_cache_path("beyondscene") / "train-embedded"
    words = "renders and checkpoints of one run, 0.3 GB for 1000 views; default: %(default)s"
    parser.add_argument("--work", type=Path, default=work, help=words)
    parser.add_argument("--minutes", type=amount, help=f"stop after so long with exit code {STOPPED}; call again to go on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--steps", type=int, help=steps)
    parser.add_argument("--views", type=int, help="renders to train on; default: as many as do for the device")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Train as `args` say, a line of JSON on standard output per event; return an exit code."""
    for folder in filter(None, (args.work, getattr(args, "out", None), getattr(args, "models", None))):
        check_folder(folder)
    try:
        with telling_of_files():
            args.train(args)
    except OutOfTime:
        return STOPPED
    return DONE


def run_embedded(args: argparse.Namespace) -> None:
    from ..models.load import silence_libraries
    from ..training.embedded import tiny_settings, train_embedded, usual_settings
    from ..training.runs import training_device

    if args.further and args.start is None:
        raise Refusal("--further says what of --start is trained further: name that model set, or leave --further out.")
    silence_libraries()
    make = tiny_settings if args.tiny else usual_settings
    settings = make(args.work, args.out, training_device(args.device))
    settings = msgspec.structs.replace(settings, start=args.start, minutes=args.minutes, seed=args.seed)
    settings = msgspec.structs.replace(settings, fit=args.fit, render_only=args.render_only)
    if args.views is not None:
        settings = msgspec.structs.replace(settings, views=args.views)
    if args.further:
        settings = msgspec.structs.replace(settings, further=frozenset(args.further))
    if args.steps is not None:
        longer = {part: msgspec.structs.replace(getattr(settings, part), steps=args.steps) for part in settings.further}
        settings = msgspec.structs.replace(settings, **longer)
    train_embedded(settings, print_event)


def run_few_steps(args: argparse.Namespace) -> None:
    """Raises ModelSetError for a folder that is no model set with an entry for few steps."""
    from ..training.distil import DistilSettings
    from ..training.few_steps import FewStepsSettings, train_few_steps

    train_few_steps(FewStepsSettings(**say_further(args), distil=DistilSettings(**say_steps(args))), print_event)


def run_hcp(args: argparse.Namespace) -> None:
    """Raises ModelSetError for a folder that is no model set with a role hcp."""
    from ..training.hcp import HcpSettings
    from ..training.human_prior import HumanPriorSettings, train_human_prior

    hcp = HcpSettings(**say_steps(args))
    train_human_prior(HumanPriorSettings(**say_further(args), reference=args.reference, hcp=hcp), print_event)


def say_further(args: argparse.Namespace) -> dict[str, Any]:
    """What `args` say of FurtherSettings."""
    from ..models.load import silence_libraries
    from ..training.runs import training_device

    silence_libraries()
    said = {"device": training_device(args.device), "processes": core_count()}
    said |= {name: getattr(args, name) for name in ("work", "models", "seed", "minutes")}
    return said if args.views is None else said | {"views": args.views}


def say_steps(args: argparse.Namespace) -> dict[str, Any]:
    return {} if args.steps is None else {"steps": args.steps}
