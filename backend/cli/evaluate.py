"""Judge methods and models on scenes of many people, fixed ones or your own."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace
from rich.table import Column, Table

from ...protocol import Refusal, RenderRequest, RenderSettings
from ..evaluation.methods import METHODS
from ..evaluation.variants import ABLATIONS, check_variants, read_variant
from ..models.sets import ModelSet, choose_model_set, read_model_set
from ..planning.accept import accept_request
from ..planning.expect import check_memory
from ..planning.resolve import resolve_settings
from . import DONE, FAULT
from .arguments import SEEDS, count, part, step_count, whole
from .device import add_device, check_device
from .progress import Bar, open_console
from .target import check_folder

if TYPE_CHECKING:  # torch, only once the input is known to be good
    import torch

    from ..evaluation.judge import Judge
    from ..evaluation.scenes import Scenes

PUBLIC = "public"
MANNEQUINS = "embedded"  # the model set whose pictures our own judge was made for
SHOWN = (
    "missing_rate", "extra_rate", "pose_pck", "garment_accuracy", "leakage_rate", "sharpness", "seam_score", "own_prompt_rate",
    "seconds",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = "; ".join(f"{name}: {words}" for name, words in METHODS.items())
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME[+SETTING=VALUE...]",
        help=f"may be repeated; default: all. {known}",
    )
    parser.add_argument("--ablations", action="store_true", help="beyondscene, and without each of its parts in turn")
    parser.add_argument("--set", choices=("quick", "full"), help="8 or 64 scenes; default: quick")
    words = "scenes of your own in place of these: requests as DIR/NAME.json (see `export`) or DIR/NAME/request.json"
    parser.add_argument("--scenes", type=Path, metavar="DIR", help=words)
    parser.add_argument("--limit", type=count, help="only the first so many scenes")
    parser.add_argument("--scene", type=scene, action="append", metavar="N", help="only this one, of 0 to 63; may be repeated")
    parser.add_argument(
        "--models", default="embedded", help="embedded, sdxl, the folder of a model set, or a finetune of SDXL in one file"
    )
    parser.add_argument("--steps", type=step_count, help="default: the model set's own")
    parser.add_argument(
        "--seed",
        type=offset,
        default=0,
        metavar="N",
        help="added to each scene's own: the same scenes from other noise; default: 0",
    )
    parser.add_argument(
        "--few-steps", action="store_true", help="every method with the model set's LoRA for few steps: a tenth of the work"
    )
    parser.add_argument("--judge", default="", help=f"folder of a judge, or '{PUBLIC}' for public models; default: our own")
    parser.add_argument("--draw-only", action="store_true", help="judge and report in a later run, with the same --out")
    words = "draw and judge every N-th scene, from the K-th: as many processes may share --out; a run without it reports"
    parser.add_argument("--part", type=part, metavar="K/N", help=words)
    add_device(parser)
    words = "pictures, results and report; run again to go on; default: %(default)s"
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"), help=words)
    parser.add_argument("--json", action="store_true", help="print one line per method, for machines")
    parser.add_argument("--write-scenes", type=Path, metavar="DIR", help="write the scenes' requests and truth, and stop")


def run(args: argparse.Namespace) -> int:
    chosen = [*(args.method or []), *(("beyondscene", *ABLATIONS) if args.ablations else ())]
    methods = list(dict.fromkeys(chosen or METHODS))
    check_variants(methods)
    if args.scenes and (args.set or args.scene or args.write_scenes):
        raise Refusal("--scenes names scenes of your own: leave out --set, --scene and --write-scenes.")
    if args.write_scenes:
        return write_scenes(args)
    model_set = choose_model_set(args.models)
    settings = RenderSettings(steps=args.steps, few_steps=args.few_steps)
    check(args, methods, settings, model_set)
    from ..evaluation.run import evaluate
    from ..models.devices import choose_device
    from ..models.load import load_models

    every = choose_scenes(args, model_set, settings)
    scenes = every.part(args.part or slice(None))
    if not scenes.names:
        count_of = len(every.names)
        raise Refusal(f"--part splits {args.part.step} ways what is {count_of} in all: name at most as many parts as scenes.")
    check_folder(args.out)
    device, dtype = choose_device(args.device, args.precision)
    judge = None if args.draw_only else load_judge(args.judge, device)
    models = load_models(model_set, device, dtype)
    console = open_console()
    for note in judge.notes if judge else ():
        console.print(note)
    with Bar(console) as bar:
        pictures = bar.bar.add_task("pictures", total=None)

        def announce(method: str, scene: str, done: int, total: int) -> Bar:
            bar.bar.reset(bar.task, description=f"{method}, {scene}")
            bar.bar.update(pictures, description=f"picture {done + 1} of {total}", completed=done, total=total)
            if not console.is_terminal:  # where the bar does not show, in the log of a run of hours
                console.print(f"picture {done + 1} of {total}: {method}, {scene}", soft_wrap=True)
            return bar

        faults: list[str] = []
        report = evaluate(
            models, judge, methods, scenes, settings, args.out, announce, faults, reported=args.part is None, seed=args.seed
        )
    for fault in faults:
        console.print(f"{fault}. It is left out.")
    if judge is None:
        console.print(f"{args.out}: pictures of {len(scenes.names)} scenes. The same command without --draw-only judges them.")
    elif args.part is not None:
        console.print(f"{args.out}: {len(scenes.names)} of {len(every.names)} scenes. The same command without --part reports.")
    elif report is not None and args.json:
        print_lines(report.summaries, judge.name)
    elif report is not None:
        console.print(tabulate(report.summaries))
        console.print(f"{args.out / 'index.html'}: pictures side by side")
    return FAULT if faults else DONE


def check(args: argparse.Namespace, methods: list[str], settings: RenderSettings, model_set: ModelSet) -> None:
    """Raise Refusal for what these models, or this machine, cannot draw or judge."""
    for method in methods:
        if resolve_settings(read_variant(method, settings)[1], model_set).few_steps:  # refused where the set names none
            model_set.few_steps_file()
    check_device(args.device, args.precision)
    if not args.judge and not args.draw_only and model_set.manifest.name != MANNEQUINS:
        raise Refusal(
            f"Our own judge knows the mannequins of the embedded model, not pictures of '{model_set.manifest.name}': choose "
            f"--judge {PUBLIC} for photographs, or the folder of a judge, as backend/evaluation/judge, which is our own."
        )


def choose_scenes(args: argparse.Namespace, model_set: ModelSet, settings: RenderSettings) -> "Scenes":
    """Raises Refusal for one of a user's own that cannot be drawn. settings: of all pictures, in place of the requests' own."""
    from ..evaluation.fixed_scenes import FixedScenes
    from ..evaluation.own_scenes import gather_scenes

    resolution = model_set.training_resolution_px
    if not args.scenes:
        return FixedScenes(chosen_numbers(args), resolution)

    def check_own(request: RenderRequest) -> None:
        accept_request(replace(request, settings=settings), model_set)
        check_memory(request.width, request.height)
        largest = max((request.seed, *(one.seed or 0 for one in request.characters)))
        if largest + args.seed not in SEEDS:
            raise Refusal(f"its seed {largest} and --seed {args.seed} come to over {SEEDS[-1]}: choose a smaller --seed.")

    return gather_scenes(args.scenes, resolution, args.limit, check_own)


def write_scenes(args: argparse.Namespace) -> int:
    """Needs the model set's resolution only, not its weights."""
    from ..evaluation.fixed_scenes import draw_scene
    from ..evaluation.scenes import write_scene
    from ..models.sets import find_model_sets

    known = {model_set.name: model_set for model_set in find_model_sets()}
    model_set = known[args.models] if args.models in known else read_model_set(Path(args.models))
    numbers = chosen_numbers(args)
    check_folder(args.write_scenes)
    for number in numbers:
        write_scene(draw_scene(number, model_set.training_resolution_px), args.write_scenes)
    print(f"{args.write_scenes}: {len(numbers)} scenes for {model_set.training_resolution_px} px")
    return DONE


def scene(text: str) -> int:
    from ..evaluation.fixed_scenes import COUNT

    return whole(text, range(COUNT), "scene")


def offset(text: str) -> int:
    from ..evaluation.fixed_scenes import COUNT

    return whole(text, SEEDS[:-COUNT], "seed")


def chosen_numbers(args: argparse.Namespace) -> tuple[int, ...]:
    from ..evaluation.fixed_scenes import scene_numbers

    return tuple(dict.fromkeys(args.scene))[: args.limit] if args.scene else scene_numbers(args.set or "quick", args.limit)


def load_judge(name: str, device: "torch.device") -> "Judge":
    """Raises JudgeError where its weights are not on this machine."""
    if name == PUBLIC:
        from ..evaluation.public import PublicJudge, PublicModels

        return PublicJudge(PublicModels(), device)
    from ..evaluation.detect import NetJudge
    from ..evaluation.judge import JUDGE_FOLDER

    return NetJudge(Path(name) if name else JUDGE_FOLDER, device)


def print_lines(summaries: list[dict], judge: str) -> None:
    """One line of JSON for each method, which holds the true renders, too, where there are any."""
    from ..evaluation.page import TRUTH

    beside: dict[str, Any] = {"judge": judge}
    if summaries[0]["method"] == TRUTH:
        beside["true_renders"] = {"judge": judge} | {name: summaries[0][name] for name in summaries[0] if name != "method"}
    for summary in summaries:
        if summary["method"] != TRUTH:
            print(msgspec.json.encode(summary | beside).decode())


def tabulate(summaries: list[dict]) -> Table:
    """The few numbers that fit a terminal, with long names folded; the true renders, which show the judge's errors, first."""
    from ..evaluation.page import COLUMNS

    columns = [one for one in COLUMNS if one[0] in SHOWN and any(summary[one[0]] is not None for summary in summaries)]
    numbers = (Column(head, no_wrap=True, justify="right") for _, head, _ in columns)
    table = Table(Column("method", overflow="fold"), *numbers, box=None)
    for summary in summaries:
        table.add_row(summary["method"], *(f"{summary[n]:.{d}f}" if summary[n] is not None else "-" for n, _, d in columns))
    return table
