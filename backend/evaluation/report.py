"""What the scores of a run come to: one summary per method, as tables, as a page and as a sheet of best and worst pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import draw_cases
from .colours import leakage_matrix
from .judge import Judge
from .page import LEGEND, LEGEND_OF_PHOTOGRAPHS, LEGEND_WITHOUT_TRUTH, OURS, TRUTH, write_markdown, write_page
from .results import Journal, SceneScore
from .scenes import Scenes
from .summary import AGAINST_RENDERS, compare, summarise, without


@dataclass(frozen=True)
class Report:
    """summaries: one object per method, that of the true renders first, where there are any. scores: by method and scene.

    Beside its metrics each has "by_size", the same for each growth of the area over the training resolution's;
    "leakage_matrices", by scene, in row i and column j how many parts of person i have person j's colour; and, where ours is
    among the methods, "beside_beyondscene", the paired differences of another to it.
    """

    title: str
    legend: str
    summaries: list[dict[str, Any]]
    scores: dict[tuple[str, str], SceneScore]


def make_report(judge: Judge, methods: Sequence[str], scenes: Scenes, journal: Journal[SceneScore]) -> Report:
    """Of scenes that `journal` holds for all methods, and for the true renders where all have one."""
    rows, header = ((TRUTH, *methods) if scenes.with_truth else tuple(methods)), journal.header
    scores = {(method, name): journal.lines[method, name] for method in rows for name in scenes.names}
    unmeasured = AGAINST_RENDERS if judge.of_photographs else ()
    growths = {name: scenes.growth(name) for name in scenes.names}
    sizes = {f"{growth}x": [n for n in scenes.names if growths[n] == growth] for growth in sorted({*growths.values()})}

    def summarise_scenes(method: str, some: Sequence[str]) -> dict[str, Any]:
        return without(summarise(method, [scores[method, name] for name in some]), unmeasured)

    summaries = []
    for method in rows:
        summary = summarise_scenes(method, scenes.names)
        summary["by_size"] = {size: summarise_scenes(method, some) for size, some in sizes.items()}
        coloured = [name for name in scenes.names if any(person.colours for person in scores[method, name].people)]
        summary["leakage_matrices"] = {name: describe_leakage(scores[method, name]) for name in coloured}
        if OURS in methods and method not in (TRUTH, OURS):
            for part, some in ((summary, scenes.names), *((summary["by_size"][size], some) for size, some in sizes.items())):
                part[f"beside_{OURS}"] = compare(*([scores[two, name] for name in some] for two in (method, OURS)))
        summaries.append(summary)
    steps = f"{header.steps} {'few ' * header.few_steps}steps"
    title = f"{len(scenes.names)} scenes, model set {header.models}, {steps}, {header.judge}"
    return Report(title, choose_legend(judge, scenes.with_truth), summaries, scores)


def choose_legend(judge: Judge, with_truth: bool) -> str:
    if not with_truth:
        return LEGEND_WITHOUT_TRUTH
    return LEGEND_OF_PHOTOGRAPHS if judge.of_photographs else LEGEND


def describe_leakage(score: SceneScore) -> list[list[float]]:
    """As `leakage_matrix`, in plain numbers."""
    matrix = leakage_matrix(len(score.people), [person.colours for person in score.people], score.leaks)
    return matrix.round(3).tolist()


def write_report(report: Report, folder: Path) -> None:
    """Write results.md, index.html and cases.jpg beside the pictures."""
    write_markdown(folder / "results.md", report.title, report.legend, report.summaries)
    write_page(folder / "index.html", report.title, report.legend, report.summaries, report.scores)
    methods = [summary["method"] for summary in report.summaries if summary["method"] != TRUTH]
    draw_cases(folder, methods, report.scores)
