"""Marks that other programs read in prompts and nothing here does: a model would take them for words, and nobody would be told.

After modules/prompt_parser.py of AUTOMATIC1111's web UI, hako-mikan's Regional Prompter, docs/SYNTAX.md of sd-dynamic-prompts,
ComfyUI's names of embeddings, NovelAI's braces, compel, whose syntax InvokeAI has. "(red coat)" alone stays: people write so.
"""

import re

from .emphasis import ESCAPED

DIALECTS = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (
            r"(?i:<(?:lora|lyco):[^<>]*>)",
            "which no prompt can load: take it out, and name the LoRA by Add LoRA in the panel, or as loras in a request.json.",
        ),
        (r"<\w[^<>\s]*>", "which nothing here loads: write embedding:name for an embedding, or say in words what it is for."),
        (
            r"\bembedding:(?![\w.-]+(?![\w./\\-]))\s*[^\s,]*",
            "which names no embedding: write embedding: and its file's name without a suffix, in letters, digits, _, . and -.",
        ),
        (
            r"\bNegative prompt:|\bSteps: \d+, \w[\w ]*:",
            "as the record of another program's picture: write what that says into the fields that are for it.",
        ),
        (
            r"\[[^\[\]]*\]",
            "which neither changes with the steps nor counts less: write the words that you want, (fog:0.9) for those that are "
            "to count less, or \\[ and \\] for brackets that are to be read.",
        ),
        (
            r"\{[^{}|]*\|[^{}]*\}|(?<!\w)__[^\W_][\w/*. -]*?__(?!\w)",
            "from which nothing is chosen: write the words that you want, in a request for each choice.",
        ),
        (  # not "PEACE AND LOVE" on a shirt
            r"(?<![A-Z] )\b(?:AND|BREAK|ADDBASE|ADDCOMM|ADDCOL|ADDROW)\b(?! [A-Z]{2})|[\"']\)\.(?:and|blend|swap)\(",
            "which divides no prompt: leave it out or write it in small letters, and say of each person in their own prompt "
            "what is theirs.",
        ),
        (
            r"\(\([^()]*\)\)|\([^()]*\)(?:\++|\d*\.\d+)|\b[a-z]\w+\+\+|\{[^{}]*\}",
            "which makes nothing count more: write (red coat:1.2), with the number inside, or a backslash before brackets that "
            "are to be read.",
        ),
        (
            r"\([^()]*:\s*[+-]?(?:\d*\.\d+\s*(?:,|$)|\d+,\d+\s*\))"
            r"|(?!\([^()\uff08\uff09\uff1a]*\))[\uff08(][^\uff08\uff09()]*[:\uff1a]\s*[\d.]+\s*[)\uff09]",  # full-width signs
            "which is no emphasis: write (red coat:1.3) in these signs, with a point in the number and a bracket behind it, or "
            "\\( and \\) for brackets that are to be read.",
        ),
    )
)


def find_dialect(text: str) -> tuple[str, str] | None:
    """The first such mark of `text`, and why it cannot stand there, as the rest of a sentence; None where there is none."""
    read = ESCAPED.sub("", text)
    found = ((pattern.search(read), why) for pattern, why in DIALECTS)
    return next(((mark[0], why) for mark, why in found if mark), None)
