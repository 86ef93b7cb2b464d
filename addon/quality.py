"""How good a picture is to be: three presets of the method's settings, and every knob for whoever wants another."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty
from msgspec import inspect

from ..protocol import SIDE_STEP_PX, SMALLEST_SIDE_PX, ModelSetInfo, RenderSettings
from .job import counted


class Preset(NamedTuple):
    """longest_side_px: beyond which the picture is made smaller; 0: never."""

    label: str
    description: str
    settings: RenderSettings
    longest_side_px: int = 0


PRESETS = {
    "PREVIEW": Preset(
        "Preview",
        "Small and quick, to see whether people and places are right",
        RenderSettings(
            steps=12,
            scheduler="dpmsolver++",
            few_steps=None,
            inpaint_strength=1.0,  # one of so few steps left out would be much of the noise
            stride_background=96,
            stride_instance=64,
        ),
        longest_side_px=1024,
    ),
    "STANDARD": Preset("Standard", "The method's own settings, with the steps that the models were made for", RenderSettings()),
    "FINAL": Preset(
        "Final",
        "Views twice as close each way: about four times the time of Standard",
        RenderSettings(stride_background=32, stride_instance=16),
    ),
}
CUSTOM = "CUSTOM"
LAST = 3  # number of what closes a list

OWN = "own"
AS_THE_MODELS = (OWN, "The Models' Own", "As the model set recommends")
YES_OR_NO = (AS_THE_MODELS, ("true", "Yes", ""), ("false", "No", ""))


def choices(items: Iterable[tuple[str, str, str]], *last: tuple[str, str, str]) -> list[tuple[str, str, str, int]]:
    """`items` in their order, and what closes the list. Files hold a choice by its number, which no later item changes."""
    numbered = [(*item, number + (number >= LAST and bool(last))) for number, item in enumerate(items)]
    return numbered + [(*item, LAST) for item in last]


def quality_choices() -> list[tuple[str, str, str, int]]:
    presets = ((name, one.label, one.description) for name, one in PRESETS.items())
    return choices(presets, (CUSTOM, "Custom", "Every setting of the method by hand"))


def left_open(kind: inspect.Type) -> int | str | None:
    """What stands for None, the model set's own choice; None where something must be chosen."""
    if not isinstance(kind, inspect.UnionType):
        return None
    number = number_of(kind)
    if isinstance(number, inspect.BoolType | inspect.LiteralType):
        return OWN
    return 0 if number.gt == 0 or (number.ge or 0) > 0 else -1


def number_of(kind: inspect.Type) -> Any:
    """The type within "a number or None", without its description."""
    value = described(kind)
    return value.type if isinstance(value, inspect.Metadata) else value


def described(kind: inspect.Type) -> inspect.Type:
    """The same with its description, where it has one."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    return next(one for one in kind.types if not isinstance(one, inspect.NoneType))


def describe(kind: inspect.Type) -> str:
    """What a setting does, as the protocol says it; a tooltip ends without a full stop."""
    value = described(kind)
    return (value.extra_json_schema or {}).get("description", "") if isinstance(value, inspect.Metadata) else ""


def names_in_order(hint: Any) -> tuple[str, ...]:
    """The names that a setting may have, as the protocol lists them (msgspec sorts them); none where it is no choice."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next((names for one in get_args(hint) if (names := names_in_order(one))), ())


def make_knob(field: inspect.Field, hint: Any) -> Any:
    """A Blender property with the name, the description, the bounds and the default of a setting. hint: its type."""
    kind, own = number_of(field.type), left_open(field.type)
    labels = {"name": spoken(field.name), "description": describe(field.type)}
    names = [(name, name, "") for name in names_in_order(hint)]
    if own == OWN:
        items = choices(names, AS_THE_MODELS) if names else YES_OR_NO
        return EnumProperty(items=items, default=OWN if field.default is None else str(field.default).lower(), **labels)
    if isinstance(kind, inspect.BoolType):
        return BoolProperty(default=field.default, **labels)
    if isinstance(kind, inspect.LiteralType):
        return EnumProperty(items=choices(names), default=field.default, **labels)
    if isinstance(kind, inspect.TupleType):
        each: Any = kind.item_types[0]
        return FloatVectorProperty(size=len(kind.item_types), default=field.default, min=each.ge, max=each.le, **labels)
    make = IntProperty if isinstance(kind, inspect.IntType) else FloatProperty
    lowest = kind.gt if kind.ge is None else kind.ge
    if own is not None:
        labels["description"] += f". {own}: the model set's own choice"
    default, lowest = (field.default, lowest) if own is None else (own, own)
    return make(default=default, min=lowest, max=kind.le, **labels)


WRITTEN = {"(Px)": "(px)", "Clahe": "CLAHE", "Controlnet": "ControlNet", "Hcp": "HcP"}  # as their authors do


def spoken(name: str) -> str:
    """A setting's name as a label; the paper's symbols stay as they are."""
    if any(len(part) == 1 for part in name.split("_")):
        return name
    words = name.replace("_px", "_(px)").replace("_", " ").title().split()
    return " ".join(WRITTEN.get(word, word) for word in words)


FIELDS = {field.name: field for field in inspect.type_info(RenderSettings).fields}  # pyright: ignore[reportAttributeAccessIssue]
HINTS = get_type_hints(RenderSettings, include_extras=True)


class BEYONDSCENE_PG_knobs(bpy.types.PropertyGroup):
    """Every setting of the method, as the protocol names and bounds it."""

    __annotations__ = {name: make_knob(field, HINTS[name]) for name, field in FIELDS.items()}


def read_knobs(knobs: Any) -> RenderSettings:
    """What the artist has set by hand. Blender keeps floats in 32 bits, so 0.7 is read back as such."""
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        value, own = getattr(knobs, name), left_open(field.type)
        exact = tuple(map(as_written, value)) if isinstance(field.default, tuple) else as_written(value)
        values[name] = None if exact == own else exact == "true" if exact in ("true", "false") else exact
    return RenderSettings(**values)


def as_written(value: Any) -> Any:
    """A float as the artist wrote it; anything else as it is."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_knobs(knobs: Any, settings: RenderSettings) -> None:
    for name, field in FIELDS.items():
        value = getattr(settings, name)
        own = left_open(field.type)
        setattr(knobs, name, own if value is None else str(value).lower() if own == OWN else value)


def chosen_settings(own: Any) -> RenderSettings:
    """The settings of a scene's `beyondscene`."""
    if own.quality == CUSTOM:
        return read_knobs(own.knobs)
    return PRESETS[own.quality or "STANDARD"].settings  # a later version's is empty: check_quality refuses it


def limited_size(own: Any, width: int, height: int) -> tuple[int, int]:
    """The size in pixels that the chosen quality makes of the one that the artist asked for."""
    limit = PRESETS[own.quality].longest_side_px if own.quality in PRESETS else 0
    if not limit or max(width, height) <= limit:
        return width, height
    scale = limit / max(width, height)
    return snapped(width * scale), snapped(height * scale)


def snapped(length: float) -> int:
    """The nearest side that a picture may have."""
    return max(SMALLEST_SIDE_PX, round(length / SIDE_STEP_PX) * SIDE_STEP_PX)


def describe_settings(settings: RenderSettings, models: ModelSetInfo | None) -> list[str]:
    """What a quality sets, a line each. models: what is known of them."""
    few = settings.few_steps or (settings.few_steps is None and models is not None and models.few_steps > 0)
    chosen_steps = None if few and settings.few_steps is None else settings.steps
    number = chosen_steps or ((models.few_steps if few else models.steps) if models else 0)
    steps = counted(number, "step", "steps") if number else "The models' own steps"
    lines = [
        f"{steps}, {'the solver made for them' if few else settings.scheduler}",
        f"Views {settings.stride_background} apart, {settings.stride_instance} over people (of 128)",
    ]
    shown = ("steps", "scheduler", "few_steps", "stride_background", "stride_instance")
    others = [name for name in FIELDS if name not in shown and getattr(settings, name) != FIELDS[name].default]
    return lines + [f"{name.replace('_', ' ')} {getattr(settings, name)}" for name in others]
