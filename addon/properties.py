"""What an artist sets: one group on each scene and one on each object, saved in the .blend."""

# Blender reads properties from annotations that are calls.
# pyright: reportInvalidTypeForm=false

from typing import get_args

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..protocol import LONGEST_SIDE_PX, SIDE_STEP_PX, SMALLEST_SIDE_PX, PartName
from . import session
from .colours import get_colour, set_colour
from .exporters.rigs import CORRECTABLE
from .exporters.shown import is_drawn, switch
from .loras import BEYONDSCENE_PG_lora
from .quality import BEYONDSCENE_PG_knobs, quality_choices, snapped

SIDES = {"min": SMALLEST_SIDE_PX, "max": LONGEST_SIDE_PX, "step": SIDE_STEP_PX}
MULTIPLE = "Pixels; the nearest multiple of 8 is taken"
OVERRIDABLE = {"LIBRARY_OVERRIDABLE"}  # so that a person of a linked library can be described in the scene that uses it
LONG = {"name": "Text", "description": "The prompt is what this text says; without it, what the line said before"}
# From Blender 4.5 on a path that begins with "//" is shown in red where its property does not say that it may.
RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


class BEYONDSCENE_PG_scene(bpy.types.PropertyGroup):
    """Everything about the picture that is not a person."""

    prompt: StringProperty(
        name="Scene",
        description="The place and the light, without its people, e.g. 'a city plaza at noon'. "
        "The set's meshes only hide people; what the place looks like is what you write",
    )
    prompt_text: PointerProperty(type=bpy.types.Text, **LONG)
    negative_prompt: StringProperty(name="Negative", description="What the scene should not show")
    style: StringProperty(
        name="Style",
        description="How everything looks, e.g. 'oil painting': said after the prompts of the scene and of each person",
    )
    backdrop: PointerProperty(
        type=bpy.types.Image,
        name="Backdrop",
        description="A picture of the place without its people, such as a render of the set: the background is drawn from it. "
        "Of a sequence, the file of the scene's frame",
    )
    backdrop_strength: FloatProperty(
        name="Drawn Anew",
        description="How much of the backdrop is drawn anew: little keeps it, 1 keeps nothing; 0: as the models have it",
        default=0,
        min=0,
        max=1,
        step=5,
    )
    use_own_size: BoolProperty(
        name="Own Size", description="Use the size below instead of the one in Output Properties", default=False
    )
    width: IntProperty(name="Width", description=MULTIPLE, default=1536, update=lambda self, _: snap(self), **SIDES)
    height: IntProperty(name="Height", description=MULTIPLE, default=1024, update=lambda self, _: snap(self), **SIDES)
    quality: EnumProperty(name="Quality", items=quality_choices(), default="STANDARD")
    knobs: PointerProperty(type=BEYONDSCENE_PG_knobs)
    seed: IntProperty(name="Seed", description="Same scene, same seed: same picture", default=0, min=0)
    lock_seed: BoolProperty(
        name="Lock Seed", description="Keep the seed; otherwise each picture draws a new one, which is shown here", default=True
    )
    variations: IntProperty(
        name="Variations", description="Pictures from this seed and those that follow it", default=1, min=1, max=64
    )
    models: StringProperty(
        name="Models",
        description="Name of a model set that the backend has",
        default="embedded",
        maxlen=128,
        search=lambda self, context, text: known_models(),
        search_options={"SUGGESTION"},
    )
    loras: CollectionProperty(type=BEYONDSCENE_PG_lora)
    file_format: EnumProperty(
        name="File",
        items=[
            (".png", "PNG", "8 bits per channel, sRGB: smaller, and what every program shows alike"),
            (
                ".exr",
                "OpenEXR",
                "16 bits per channel, scene-linear, with the matte of each person and their order in depth as layers for the "
                "compositor",
            ),
        ],
        default=".png",
    )
    output_folder: StringProperty(
        name="Folder",
        description="Where finished pictures are written; '//' is the folder of the .blend",
        default="//renders/",
        subtype="DIR_PATH",
        options={"ANIMATABLE", *RELATIVE},
    )


class BEYONDSCENE_PG_joint(bpy.types.PropertyGroup):
    """The bone that the artist gave one joint; none: as it was found."""

    bone: StringProperty(
        name="Bone",
        description="Where this joint lies; empty: as found",
        search=lambda self, context, text: self.id_data.data.bones.keys(),
        search_options={"SUGGESTION"},
        override=OVERRIDABLE,
    )
    end: EnumProperty(
        name="End",
        description="Which end of the bone",
        items=(
            ("HEAD", "Head", "Where the bone begins", "TRACKING_CLEAR_BACKWARDS", 0),
            ("TAIL", "Tail", "Where the bone ends", "TRACKING_CLEAR_FORWARDS", 1),
        ),
        override=OVERRIDABLE,
    )


class BEYONDSCENE_PG_joints(bpy.types.PropertyGroup):
    """A joint for each role that can be corrected."""

    __annotations__ = {role: PointerProperty(type=BEYONDSCENE_PG_joint, override=OVERRIDABLE) for role in CORRECTABLE}


class BEYONDSCENE_PG_parts(bpy.types.PropertyGroup):
    """What is said of one person part by part; empty: nothing."""

    __annotations__ = {
        part: StringProperty(
            name=part.replace("_", " ").title(),
            description=f"Of this person's {part.replace('_', ' ')}, for the person drawn alone and for views that show it",
            override=OVERRIDABLE,
        )
        for part in get_args(PartName)
    }


class BEYONDSCENE_PG_character(bpy.types.PropertyGroup):
    """One person; on the armature object."""

    enabled: BoolProperty(name="Enabled", default=True, override=OVERRIDABLE)  # once the artist has said so; see Person.said
    drawn: BoolProperty(name="Drawn", description="Draw this person", get=is_drawn, set=switch, override=OVERRIDABLE)
    prompt: StringProperty(name="Prompt", description="This person alone, e.g. 'a woman in a red coat'", override=OVERRIDABLE)
    prompt_text: PointerProperty(type=bpy.types.Text, **LONG, override=OVERRIDABLE)
    negative_prompt: StringProperty(name="Negative", description="What this person should not be", override=OVERRIDABLE)
    use_own_seed: BoolProperty(
        name="Own Seed",
        description="Keep this person as they are while the picture's seed changes, or draw them anew while the others stay",
        update=lambda self, context: begin_own_seed(self, context),
        override=OVERRIDABLE,
    )
    seed: IntProperty(name="Seed", description="Of this person, drawn alone", default=0, min=0, override=OVERRIDABLE)
    parts: PointerProperty(type=BEYONDSCENE_PG_parts, override=OVERRIDABLE)
    show_parts: BoolProperty(
        name="Parts", description="Describe head, hair, clothes and so on, each by itself", override=OVERRIDABLE
    )
    chosen_colour: FloatVectorProperty(size=3, min=0, max=1, override=OVERRIDABLE)  # black: none was chosen
    colour: FloatVectorProperty(
        name="Colour",
        description="In which this person is marked in the preview and the overlay of the controls",
        subtype="COLOR_GAMMA",
        size=3,
        min=0,
        max=1,
        get=get_colour,
        set=set_colour,
        override=OVERRIDABLE,
    )
    joints: PointerProperty(type=BEYONDSCENE_PG_joints, override=OVERRIDABLE)
    loras: CollectionProperty(type=BEYONDSCENE_PG_lora, override={*OVERRIDABLE, "USE_INSERTION"})


CLASSES = (
    BEYONDSCENE_PG_lora,
    BEYONDSCENE_PG_knobs,
    BEYONDSCENE_PG_scene,
    BEYONDSCENE_PG_joint,
    BEYONDSCENE_PG_joints,
    BEYONDSCENE_PG_parts,
    BEYONDSCENE_PG_character,
)


def begin_own_seed(own: BEYONDSCENE_PG_character, context: bpy.types.Context) -> None:
    """From that of the picture, with which this person looks as now."""
    if own.use_own_seed:
        own.seed = context.scene.beyondscene.seed


def snap(own: BEYONDSCENE_PG_scene) -> None:
    """Dragged with the mouse, a side goes by single pixels, of which most are no side of a picture."""
    for side in ("width", "height"):
        if (legal := snapped(getattr(own, side))) != getattr(own, side):
            setattr(own, side, legal)


def known_models() -> list[str]:
    """Names of the model sets that the connected backend can use."""
    welcome = session.current().welcome
    return [one.name for one in welcome.models if not one.missing] if welcome else []


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.beyondscene = PointerProperty(type=BEYONDSCENE_PG_scene)
    bpy.types.Object.beyondscene = PointerProperty(type=BEYONDSCENE_PG_character, override=OVERRIDABLE)


def unregister() -> None:
    del bpy.types.Object.beyondscene
    del bpy.types.Scene.beyondscene
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
