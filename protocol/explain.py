"""What msgspec says of a request, in the words of whoever writes one."""

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .scene import DIGEST, LORA_NAME, ArrayRef, Camera, Character, Keypoint, RenderRequest
from .settings import RenderSettings

PATTERNS = {
    LORA_NAME: "the name of a file in letters, digits, spaces, `_`, `.` and `-`, without its suffix",
    DIGEST: "64 hexadecimal digits, in lower case",
}


def explain(error: str) -> str:
    """`error`, with the choices there are in place of "invalid enum value", and without regular expressions."""
    for pattern, words in PATTERNS.items():
        error = error.replace(f"matching regex {pattern!r}", f"that is {words}")
    found = re.fullmatch(r"Invalid enum value (.+?) - at (?:`key` in )?`\$\.(.+)`", error)
    if found is None:
        return error
    value, place = found.groups()
    name = re.findall(r"\w+", re.sub(r"\[.*?\]", "", place))[-1]
    *others, last = map(str, choices(name))
    known = f"{', '.join(others)} or {last}" if others else last
    return f"{value} is no {name}: choose {known}, at `$.{place}`"


def choices(field: str) -> tuple[Any, ...]:
    """The values, or keys, that a field of this name may have; no two with choices have the same name."""
    for struct in (RenderRequest, RenderSettings, Character, Keypoint, Camera, ArrayRef):
        if values := tuple(literals(get_type_hints(struct).get(field))):
            return values
    return ()


def literals(hint: Any) -> Iterator[Any]:
    """What a type allows, where it says that value by value."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for argument in get_args(hint):
            yield from literals(argument)
