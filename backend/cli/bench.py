"""Measure time, work and memory of methods side by side."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...protocol import Refusal, check_size
from ..evaluation.methods import METHODS
from ..evaluation.variants import check_variants
from ..machine import find_memory
from ..models.sets import ModelSetError, choose_model_set
from ..planning.expect import check_memory
from . import DONE, FAULT
from .arguments import amount, count, size, step_count, whole
from .device import add_device, check_device
from .progress import open_console
from .target import check_folder

if TYPE_CHECKING:  # torch, only once the input is known to be good
    import torch

    from ..models.load import Models

PLAIN = "plain"
PEOPLE = range(1, 8 + 1)  # that there is a scene with
DEFAULT_METHODS = ("beyondscene", PLAIN, "demofusion", "direct")
RANDOM = ("sdxl-random", "toy-random")
TUNINGS = ("channels_last", "fused", "float8", "half_vae", "compiled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = ", ".join((PLAIN, *METHODS))
    parser.add_argument(
        "--method", action="append", metavar="NAME",
        help=f"may be repeated, of {known}, or with other settings, NAME+SETTING=VALUE; default: {', '.join(DEFAULT_METHODS)}",
    )  # fmt: skip
    parser.add_argument("--size", action="append", type=size, metavar="WxH", help="may be repeated; default: 1024x1024")
    parser.add_argument(
        "--models",
        default="embedded",
        help=f"embedded, sdxl, a model set's folder, a finetune of SDXL in one file, or random weights: {', '.join(RANDOM)}",
    )
    parser.add_argument("--people", type=people, default=3, help="in the picture, 1 to 8; default: 3")
    parser.add_argument("--steps", type=step_count, help="default: the model set's own")
    parser.add_argument("--rounds", type=count, default=2, help="each runs all methods once; default: 2")
    parser.add_argument(
        "--minutes", type=amount, default=float("inf"), help="begin nothing that would end later; loading counts"
    )
    parser.add_argument(
        "--cold", action="store_true", help="draw no untimed picture of one step before the first round: it holds first calls"
    )
    parser.add_argument("--device-memory", type=amount, metavar="GIB", help="take at most so much of a CUDA device's")
    add_device(parser)
    parser.add_argument(
        "--tune", action="append", default=[], type=tuning, metavar="NAME[+NAME...]",
        help=f"our method once more with its networks tuned; may be repeated, of {', '.join(TUNINGS)}",
    )  # fmt: skip
    parser.add_argument(
        "--tune-all", type=tuning, default=(), metavar="NAME[+NAME...]", help="all methods with their networks tuned so"
    )
    words = "folder for bench.md and bench.jsonl, written after every picture, and bench.png, at the end; default: none"
    parser.add_argument("--out", type=Path, help=words)
    parser.add_argument("--json", action="store_true", help="print one line per method and size, ours at the largest size last")


def people(text: str) -> int:
    return whole(text, PEOPLE, "number of people")


def tuning(text: str) -> tuple[str, ...]:
    """What is tuned at once, as argparse wants it."""
    names = tuple(dict.fromkeys(text.split("+")))
    unknown = [name for name in names if name not in TUNINGS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no tuning '{unknown[0]}': join some of {', '.join(TUNINGS)} by +")
    return names


def run(args: argparse.Namespace) -> int:
    deadline_s = time.time() + 60 * args.minutes  # loading counts
    methods: list[str] = list(dict.fromkeys(args.method or DEFAULT_METHODS))
    sizes = sorted(set(args.size or [(1024, 1024)]))
    check(args, methods, sizes)
    check_device(args.device, args.precision)
    if args.out:
        check_folder(args.out)
    from ..bench.float8 import check_device as check_float8
    from ..bench.meter import MIB, HostPeak, measure_ceiling
    from ..bench.report import Report, describe_machine, plot
    from ..bench.run import Setup, bench, summarise
    from ..bench.tune import tuned
    from ..models.device_memory import hold_to
    from ..models.devices import choose_device

    console = open_console()
    if args.out and not has_matplotlib():
        console.print("bench.png is left out, since matplotlib is not installed: `pip install matplotlib` draws it.")
    device, dtype = choose_device(args.device, args.precision)
    if any("float8" in names for names in (*args.tune, args.tune_all)):
        check_float8(device)
    if args.device_memory is not None:
        hold_to(device, args.device_memory)
    models = load(args.models, device, dtype)
    memory = HostPeak()
    memory.restart()
    ceiling_flops = measure_ceiling(models.device, models.dtype)
    machine = describe_machine(models, ceiling_flops, memory.peak / MIB)
    steps = args.steps or models.manifest.steps
    setup = Setup(models=models.manifest.name, machine=machine.device, precision=machine.dtype, people=args.people)
    report = Report(models, machine, args.people, steps, args.device_memory, args.tune_all)
    options = {
        "people": args.people, "steps": args.steps, "rounds": args.rounds, "tunings": args.tune, "warm_up": not args.cold,
        "ceiling_flops": ceiling_flops, "deadline_s": deadline_s,
    }  # fmt: skip
    rows, markdown = [], ""
    faults: list[str] = []
    with tuned(models, args.tune_all):
        for runs in bench(models, methods, sizes, **options, tell=console.print, faults=faults):
            rows = summarise(runs, setup, ceiling_flops)
            markdown = report.markdown(runs, rows)
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
                (args.out / "bench.md").write_text(markdown, "utf-8")
                (args.out / "bench.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    if args.out and rows and has_matplotlib():
        plot(args.out / "bench.png", rows, f"{models.manifest.name}, {args.people} people, {steps} steps")
    if args.json:
        for row in rows:
            print(msgspec.json.encode(row).decode())
    else:
        print(markdown, end="")
    return FAULT if faults else DONE


def check(args: argparse.Namespace, methods: list[str], sizes: list[tuple[int, int]]) -> None:
    """Raise Refusal for what cannot be measured, before anything is loaded."""
    for method in methods:
        name, plus, _ = method.partition("+")
        if name == PLAIN and plus:
            raise Refusal(f"'{method}' gives {PLAIN} other settings, but it draws our picture with ours: name it alone.")
        if name not in (PLAIN, *METHODS):
            raise Refusal(f"There is no method '{name}': known are {', '.join((PLAIN, *METHODS))}.")
    check_variants([method for method in methods if method != PLAIN])
    if args.tune and args.tune_all:
        raise Refusal("--tune and --tune-all exclude each other: what all are tuned by would be undone by the other one.")
    for width, height in sizes:
        check_size(width, height)
        check_memory(width, height)
    if args.models not in RANDOM:
        try:
            choose_model_set(args.models)
        except ModelSetError as error:
            raise Refusal(f"{error} With random weights there are {' and '.join(RANDOM)}.") from error


def has_matplotlib() -> bool:
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def load(name: str, device: "torch.device", dtype: "torch.dtype") -> "Models":
    import torch

    if name in RANDOM:
        from ..bench.layouts import LAYOUTS
        from ..bench.random_models import make_random_models

        if device.type != "cuda":  # whose memory says itself when it is full, where Linux would kill this process
            check_networks(name, make_random_models(LAYOUTS[name], torch.device("meta"), dtype).placement.weights_bytes, dtype)
        return make_random_models(LAYOUTS[name], device, dtype)
    from ..models.load import load_models

    return load_models(choose_model_set(name), device, dtype)


def check_networks(name: str, needed: int, dtype: "torch.dtype") -> None:
    """Raise Refusal for networks of `needed` bytes that this machine cannot hold, before any is made."""
    from ..hardware import name_precision

    there, precision = find_memory().total, name_precision(dtype)
    if needed > there:
        less = "--precision bfloat16, which halves them, or " if precision == "float32" else ""
        raise Refusal(
            f"The networks of '{name}' have {needed / 1e9:.1f} GB in {precision}, but the machine has {there / 1e9:.1f} GB of "
            f"memory: choose {less}a larger machine."
        )
