"""Settings changed by words: `render --set t_b=0.35`, and the variants of a method that `evaluate` compares."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from ...protocol import Refusal, RenderSettings, check_settings
from ...protocol.explain import explain


def change_settings(settings: RenderSettings, changes: Iterable[str], said: str) -> RenderSettings:
    """`settings` with each NAME=VALUE of `changes`; what is null is left to the model set.

    Two numbers are written as `guidance_interval=0.1..0.8`, or with a comma between them. said: where the changes stand, for
    messages. Raises Refusal for a name or a value that there is not, and for settings that do not go together.
    """
    values = msgspec.to_builtins(settings)
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or name not in values:
            raise Refusal(f"{said} sets '{name}', which is no setting: write NAME=VALUE with NAME one of {', '.join(values)}.")
        several = isinstance(values[name], list | tuple)
        parts = value.replace("..", ",").split(",") if several else [value]
        parts = [re.sub(r"^(-?)(?=\.\d)", r"\g<1>0", part) for part in parts]  # .3, as the tables write it
        read: Any = parts if several else parts[0]
        try:
            msgspec.convert({name: read}, RenderSettings, strict=False)
        except msgspec.ValidationError as error:
            form = f"; write it as {name}={'..'.join(map(str, values[name]))}" if several else ""
            raise Refusal(f"{said} gives {name} the value '{value}': {explain(str(error))}{form}.") from error
        values[name] = read
    changed = msgspec.convert(values, RenderSettings, strict=False)
    check_settings(changed)
    return changed
