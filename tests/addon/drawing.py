"""What a panel draws, without a window: a layout that notes the words and refuses names that Blender does not know."""

from types import SimpleNamespace
from typing import Any

import bpy

ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())
FUNCTIONS = bpy.types.UILayout.bl_rna.functions


class Layout:
    """Takes the calls that a UILayout takes. words: labels, names of properties and of operators, in order."""

    def __init__(self, words: list[str] | None = None) -> None:
        self.words = [] if words is None else words

    def __getattr__(self, name: str) -> Any:
        assert name in FUNCTIONS, f"UILayout has no {name}"
        allowed = set(FUNCTIONS[name].parameters.keys()) | {"text", "icon"}

        def call(*arguments: Any, **named: Any) -> Any:
            assert set(named) <= allowed, f"{name} takes no {set(named) - allowed}"
            assert named.get("icon", "NONE") in ICONS, f"there is no icon {named['icon']}"
            if name == "prop":
                data, prop = arguments
                assert prop in data.bl_rna.properties, f"{data} has no {prop}"
                self.words.append(named.get("text") or data.bl_rna.properties[prop].name)
            elif name == "operator":
                group, operator = arguments[0].split(".")
                assert operator in dir(getattr(bpy.ops, group)), f"there is no operator {arguments[0]}"
                kind = getattr(bpy.ops, group).__getattr__(operator)
                self.words.append(named.get("text") or kind.get_rna_type().name)
                return SimpleNamespace()
            elif "text" in named:
                self.words.append(named["text"])
            return Layout(self.words)

        return call


def drawn(panel: type[bpy.types.Panel], width_px: int = 100_000) -> str:
    """The words of a panel as it is drawn now, unless told otherwise so wide that no sentence is broken."""
    layout = Layout()
    region = SimpleNamespace(width=width_px)
    context = SimpleNamespace(
        **{name: getattr(bpy.context, name) for name in ("scene", "screen", "view_layer", "object", "window_manager")},
        preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1), addons=bpy.context.preferences.addons),
        region=region,
        evaluated_depsgraph_get=bpy.context.evaluated_depsgraph_get,
    )
    panel.draw(SimpleNamespace(layout=layout), context)  # type: ignore[arg-type]
    return "\n".join(layout.words)
