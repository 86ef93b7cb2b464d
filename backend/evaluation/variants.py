"""Variants of a method: the same method with other settings, written as `beyondscene+t_b=0.35+perturb=off`."""

import re

from ...protocol import Refusal, RenderSettings
from ..planning.change import change_settings
from .methods import check_method, settings_of

# What the paper's parts are worth, measured by leaving each out or taking its other reading; against plain `beyondscene`.
ABLATIONS = {
    "beyondscene+perturb=off": "no high-frequency injection",
    "beyondscene+perturb=paper-literal": "replace where eps > C, as Algorithm 1 is printed",
    "beyondscene+view_prompts=everybody": "every view with everybody's prompts",
    "beyondscene+inpaint_people=everything": "the background with people's prompts as well",
    "beyondscene+inpaint_people=nothing": "the background without people's poses",
    "beyondscene+controlnet_conditioning_scale=0": "no poses",
    "beyondscene+controlnet_views=none": "no poses at the enlarged levels",
    "beyondscene+guide_pose=false": "guidance points to the prompt alone",
    "beyondscene+stride_background=32": "the dense grid of views everywhere",
    "beyondscene+stride_instance=64": "the coarse grid of views everywhere",
    "beyondscene+clahe_clip_limit=0": "no tone normalisation",
    "beyondscene+prepend_global=false": "people's views without the scene's prompt",
    "beyondscene+view_weighting=uniform": "views averaged uniformly, as Algorithm 2 is printed",
    "beyondscene+t_b=0.15": "levels start from less noise",
    "beyondscene+t_b=0.35": "levels start from more noise",
    "beyondscene+t_b=0.5": "levels start from much more noise",
    "beyondscene+t_b=0.7": "levels start from the paper's noise",
}


def read_variant(text: str, settings: RenderSettings) -> tuple[str, RenderSettings]:
    """The method's name, and `settings` with what follows its `+` signs.

    Raises Refusal for a method, a setting or a value that there is not, for a setting that the method does not read (its
    picture would be the plain one under another name), and for settings that do not go together.
    """
    method, *changes = re.split(r"\+(?=[a-z_])", text)  # not within dpmsolver++
    check_method(method)
    changed = change_settings(settings, changes, f"'{text}'")
    for name in (change.partition("=")[0] for change in changes):
        if name not in settings_of(method):
            raise Refusal(f"'{text}' sets {name}, which {method} does not read: it reads {', '.join(settings_of(method))}.")
    return method, changed


def check_variants(variants: list[str]) -> None:
    """Raise Refusal for the first one that cannot be drawn."""
    for variant in variants:
        read_variant(variant, RenderSettings())
