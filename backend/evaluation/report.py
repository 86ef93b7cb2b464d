"""What the scores of a run come to: one summary per method, as tables, as a page and as a sheet of best and worst pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import draw_cases
from .colours import leakage_matrix
from .judge import Judge
from .page import LEGEND, LEGEND_OF_PHOTOGRAPHS, OURS, TRUTH, write_markdown, write_page
from .results import Journal, SceneScore
from .scenes import scene_growth, scene_name
from .summary import AGAINST_RENDERS, compare, summarise, without


@dataclass(frozen=True)
class Report:
    """summaries: one object per method, that of the true renders first. scores: by method and scene.

    Beside its metrics each has "by_size", the same for each growth of the area over the training resolution's;
    "leakage_matrices", by scene, in row i and column j how many parts of person i have person j's colour; and, where ours is
    among the methods, "beside_beyondscene", the paired differences of another to it.
    """

    title: str
    legend: str
    summaries: list[dict[str, Any]]
    scores: dict[tuple[str, str], SceneScore]


def make_report(judge: Judge, methods: Sequence[str], numbers: Sequence[int], journal: Journal[SceneScore]) -> Report:
    """Of the scenes `numbers`, which `journal` holds for all methods and for the true renders."""
    names, header = [scene_name(number) for number in numbers], journal.header
    scores = {(method, name): journal.lines[method, name] for method in (TRUTH, *methods) for name in names}
    unmeasured = AGAINST_RENDERS if judge.of_photographs else ()
    growths = sorted({*map(scene_growth, numbers)})
    sizes = {f"{growth}x": [n for n in numbers if scene_growth(n) == growth] for growth in growths}

    def summarise_scenes(method: str, some: Sequence[int]) -> dict[str, Any]:
        return without(summarise(method, [scores[method, scene_name(number)] for number in some]), unmeasured)

    summaries = []
    for method in (TRUTH, *methods):
        summary = summarise_scenes(method, numbers)
        summary["by_size"] = {size: summarise_scenes(method, some) for size, some in sizes.items()}
        summary["leakage_matrices"] = {name: describe_leakage(scores[method, name]) for name in names}
        if OURS in methods and method not in (TRUTH, OURS):
            for part, some in ((summary, numbers), *((summary["by_size"][size], some) for size, some in sizes.items())):
                part[f"beside_{OURS}"] = compare(*([scores[two, scene_name(n)] for n in some] for two in (method, OURS)))
        summaries.append(summary)
    title = f"{len(names)} scenes, model set {header.models}, {header.steps} {'few ' * header.few_steps}steps, {header.judge}"
    return Report(title, LEGEND_OF_PHOTOGRAPHS if judge.of_photographs else LEGEND, summaries, scores)


def describe_leakage(score: SceneScore) -> list[list[float]]:
    """As `leakage_matrix`, in plain numbers."""
    matrix = leakage_matrix(len(score.people), [person.colours for person in score.people], score.leaks)
    return matrix.round(3).tolist()


def write_report(report: Report, folder: Path) -> None:
    """Write results.md, index.html and cases.jpg beside the pictures."""
    write_markdown(folder / "results.md", report.title, report.legend, report.summaries)
    write_page(folder / "index.html", report.title, report.legend, report.summaries, report.scores)
    draw_cases(folder, [summary["method"] for summary in report.summaries[1:]], report.scores)
