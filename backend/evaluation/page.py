"""The results for people: a Markdown table, and an HTML page with the pictures side by side."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..markdown import markdown_table
from .colours import leakage_matrix
from .results import SceneScore
from .summary import BESIDE

TRUTH, OURS = "truth", "beyondscene"
# metric, head of its column, digits
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("missing_rate", "missing", 3), ("extra_rate", "extra", 3), ("pose_pck", "PCK", 3), ("pose_oks", "OKS", 3),
    ("garment_accuracy", "garments", 3), ("hair_accuracy", "hair", 3), ("leakage_rate", "leakage", 3),
    ("leakage_by_chance", "by chance", 3), ("background_accuracy", "background", 2), ("sharpness", "sharpness", 2),
    ("seam_score", "seams", 2), ("patch_distance", "patch distance", 3), ("clip_global", "CLIP", 3),
    ("clip_person", "CLIP per person", 3), ("own_prompt_rate", "own prompt", 3), ("preference", "preference", 2),
    ("seconds", "s", 1),
)  # fmt: skip
_STYLE = """body{font:14px sans-serif;margin:2em;max-width:none} table{border-collapse:collapse} td,th{padding:.3em .6em;
text-align:right;border-bottom:1px solid #ccc} td:first-child,th:first-child{text-align:left} figure{display:inline-block;
margin:.3em;vertical-align:top;width:20em} img{width:100%} figcaption{font-size:12px} h2{margin-top:1.5em}"""


def picture_path(method: str, scene: str) -> Path:
    """Where a picture lies, below the folder of results."""
    return Path("pictures") / method / f"{scene}.png"


def read_picture(path: Path) -> np.ndarray:
    """uint8 (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def write_markdown(path: Path, title: str, legend: str, summaries: Sequence[dict[str, Any]]) -> None:
    """One table of all sizes, and one of the differences to our method where there are any; then the same for each size."""
    parts = [f"# {title}", markdown_table(*make_table(summaries)), legend]
    if beside := make_beside_table(summaries):
        parts += [f"## Beside {OURS}, same scenes", markdown_table(*beside), BESIDE_LEGEND]
    for size in summaries[0]["by_size"]:
        some = [summary["by_size"][size] for summary in summaries]
        parts += [f"## {size} the training resolution's area", markdown_table(*make_table(some))]
        if beside := make_beside_table(some):
            parts.append(markdown_table(*beside))
    path.write_text("\n\n".join(parts) + "\n", "utf-8")


def write_page(
    path: Path, title: str, legend: str, summaries: Sequence[dict[str, Any]], scores: dict[tuple[str, str], SceneScore]
) -> None:
    """scores: by method and scene; every picture is linked relative to the page."""
    head, rows = make_table(summaries)
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    filled = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    table = "".join(f"<tr>{row}</tr>" for row in (cells, *filled))
    methods = [summary["method"] for summary in summaries]
    scenes = sorted({scene for _, scene in scores})
    parts = []
    for scene in scenes:
        shown = [scores[method, scene] for method in methods if (method, scene) in scores]
        figures = "".join(make_figure(score) for score in shown)
        parts.append(f"<h2>{escape(scene)}: {len(shown[0].people)} people, {shown[0].width}x{shown[0].height}</h2>{figures}")
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1><table>{table}</table><p>{escape(legend)}</p>{''.join(parts)}</html>\n",
        "utf-8",
    )


def make_figure(score: SceneScore) -> str:
    source = quote(picture_path(score.method, score.scene).as_posix(), safe="/+=")
    words = f"{score.method}: {describe_score(score)}"
    return (
        f'<figure><a href="{source}"><img loading=lazy src="{source}" alt="{escape(score.method)}"></a>'
        f"<figcaption>{escape(words)}</figcaption></figure>"
    )


def describe_score(score: SceneScore) -> str:
    """What went wrong in one picture, in words."""
    colours = [person.colours for person in score.people]
    wrong = [
        f"{person.id}'s {part.part} is {part.found or 'not seen'} for {part.planned}"
        for person in score.people
        for part in person.colours
        if part.found != part.planned
    ]
    matrix = leakage_matrix(len(score.people), colours, score.leaks)
    lent = [
        f"{score.people[wearer].id} wears {matrix[wearer, owner]:.2g} of {score.people[owner].id}'s"
        for wearer in range(len(matrix))
        for owner in range(len(matrix))
        if wearer != owner and matrix[wearer, owner] > 0
    ]
    errors = [f"{score.missing} missing", f"{score.extra} extra", *wrong, *lent]
    return "; ".join(errors)


def make_table(summaries: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The head, and a row per method: each number with its interval; columns that nobody has are left out."""
    columns = [column for column in COLUMNS if any(summary.get(column[0]) is not None for summary in summaries)]
    rows = [
        [summary["method"], str(summary["scenes"]), *(make_cell(summary, name, digits) for name, _, digits in columns)]
        for summary in summaries
    ]
    return ["method", "scenes", *(head for _, head, _ in columns)], rows


def make_beside_table(summaries: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]] | None:
    """The head, and a row per method: each paired difference with its interval, in bold where that leaves out 0.

    Columns that nobody has are left out. None where nobody is compared.
    """
    compared = [(summary["method"], summary[f"beside_{OURS}"]) for summary in summaries if f"beside_{OURS}" in summary]
    columns = [column for column in COLUMNS if column[0] in BESIDE and any(beside[column[0]] for _, beside in compared)]
    rows = [[method, *(make_beside_cell(beside[name], digits) for name, _, digits in columns)] for method, beside in compared]
    return (["method", *(head for _, head, _ in columns)], rows) if rows else None


def make_beside_cell(difference: dict[str, Any] | None, digits: int) -> str:
    if difference is None:
        return "-"
    if difference["ci95"] is None:
        return f"{difference['difference']:+.{digits}f}"
    low, high = difference["ci95"]
    cell = f"{difference['difference']:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"**{cell}**" if low > 0 or high < 0 else cell


def make_cell(summary: dict[str, Any], name: str, digits: int) -> str:
    if summary.get(name) is None:
        return "-"
    interval = summary["ci95"].get(name)
    around = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    return f"{summary[name]:.{digits}f}{around}"


_METRICS = (
    "In brackets: 95 % bootstrap intervals over scenes. missing, extra: people over planned people. PCK, OKS: of people who "
    "were found. leakage: parts in somebody else's colour; by chance: as many if wrong colours were drawn by lot. seams: 1 "
    "where borders of views cannot be told. own prompt: whose box fits their own prompt best, of all people's in the scene."
)
LEGEND = (
    f"'{TRUTH}' are the true renders: what the judge gets wrong in them it also gets wrong elsewhere. {_METRICS} sharpness: 1 "
    "as the true render, above it noise. patch distance: from patches of the true render, by blur and noise alike."
)
LEGEND_OF_PHOTOGRAPHS = (
    f"'{TRUTH}' are renders of mannequins: they show that the plan can be read, not what this judge, who was made for "
    f"photographs, gets wrong in these. {_METRICS} background, sharpness and patch distance are left out: they are held "
    "against the renders themselves, which are no measure of photographs."
)
LEGEND_WITHOUT_TRUTH = (
    "Of these scenes only the requests are known: garments, hair and leakage are of the colours that the prompts name, and "
    f"background, sharpness and patch distance are not measured. {_METRICS}"
)
BESIDE_LEGEND = (
    f"What each has more than {OURS}, with 95 % bootstrap intervals of the difference over the same scenes; in bold where they "
    "leave out 0."
)
