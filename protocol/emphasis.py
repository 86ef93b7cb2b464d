"""Emphasis in prompts, as most interfaces for Stable Diffusion write it: "(a red coat:1.3)" counts more, "(fog:0.6)" less.

Marks nest, and their weights multiply. Brackets without a number are read as they stand, and so are those after a backslash,
be they round, square, curly or pointed.
"""

import re
from itertools import groupby, pairwise

LEAST, MOST = 0, 3
ESCAPED = re.compile(r"\\[()\[\]{}<>]")
_MARK = re.compile(ESCAPED.pattern + r"|\(|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|\)")


def read_emphasis(text: str) -> list[tuple[str, float]]:
    """`text` without its marks, in pieces, each with its weight; what stands in no marks has 1."""
    pieces: list[tuple[str, float]] = []
    opened: list[int] = []  # the places in `pieces` of the brackets that are not closed yet
    end = 0
    for mark in _MARK.finditer(text):
        pieces.append((text[end : mark.start()], 1.0))
        end = mark.end()
        if mark[1] and opened:
            first = opened.pop()
            pieces[first:] = [(words, weight * float(mark[1])) for words, weight in pieces[first + 1 :]]
            pieces.append((" " * text.startswith("(", end), 1.0))  # words of two marks that touch are not one word
            continue
        if mark[0] == "(":
            opened.append(len(pieces))
        elif mark[0] == ")" and opened:
            opened.pop()
        pieces.append((mark[0].removeprefix("\\"), 1.0))
    pieces.append((text[end:], 1.0))
    said = (piece for piece in pieces if piece[0])
    return [("".join(words for words, _ in alike), weight) for weight, alike in groupby(said, lambda piece: piece[1])]


def escape_open(text: str) -> str:
    """`text` with a backslash before each bracket that it leaves open: as it is read alone, also where another text, which may
    close brackets, follows."""
    opened: list[int] = []
    for mark in _MARK.finditer(text):
        if mark[0] == "(":
            opened.append(mark.start())
        elif opened and not mark[0].startswith("\\"):
            opened.pop()
    return "\\".join(text[start:end] for start, end in pairwise((0, *opened, len(text))))


def without_emphasis(text: str) -> str:
    """The words of `text` alone."""
    return "".join(words for words, _ in read_emphasis(text))
