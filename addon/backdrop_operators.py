"""The set as Blender renders it, for a backdrop."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from ..protocol import SHORT_SIDE_PX
from . import blender_render, images
from .exporters import PICTURE_PLANE, find_enabled, picture_size
from .exporters.camera import check_camera
from .exporters.errors import ExportError
from .exporters.instancing import shown_objects
from .exporters.leaders import ArmatureFinder, rendered_objects
from .obstacles import SaysWhyNot

Result = set[str]


class BEYONDSCENE_OT_render_backdrop(SaysWhyNot, bpy.types.Operator):
    """Render the scene without its people by its own render engine, and take that as the backdrop. Blender is busy meanwhile"""

    bl_idname = "beyondscene.render_backdrop"
    bl_label = "Render Set"
    bl_options = {"UNDO"}

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        if not context.scene.is_editable:
            return f"'{context.scene.name}' is linked from another file, and would not keep the backdrop"
        try:
            check_camera(context.scene)
        except ExportError as error:
            return str(error)
        return "Blender renders: wait until it is done" if blender_render.is_running() else ""

    def execute(self, context: bpy.types.Context) -> Result:
        own = context.scene.beyondscene
        try:
            path = images.next_free(own.output_folder, "set", ".png")
            with scene_of_the_set(context) as alone:
                render_still(alone, path, *picture_size(context.scene))
            own.backdrop = bpy.data.images.load(str(path))
            images.tell_place(own.backdrop)
        except (OSError, RuntimeError) as error:
            self.report({"ERROR"}, f"There is no picture of the set: {' '.join(str(error).split())}")
            return {"CANCELLED"}
        return {"FINISHED"}


@contextmanager
def scene_of_the_set(context: bpy.types.Context) -> Iterator[bpy.types.Scene]:
    """A copy of the scene of `context` with all that its view layer renders but the people, and what hangs on them, and our
    own pictures; gone afterwards.
    """
    people = find_enabled(context.view_layer)
    finder = ArmatureFinder({person.armature for person in people if not person.instancers}.__contains__)
    inside: dict[bpy.types.Object, set[bpy.types.Object]] = {}  # of an instance, whom to leave out
    for person in people:
        if person.instancers:
            inside.setdefault(person.instancers[0], set()).add((*person.instancers, person.armature)[1])
    things = rendered_objects(context.view_layer.layer_collection)
    seen = (one for one in things if one.type == "LIGHT" or one.visible_get(view_layer=context.view_layer))
    kept = [thing for thing in seen if finder.find(thing) is None and not thing.get(PICTURE_PLANE)]
    rests = {root: make_rest(root, gone) for root, gone in inside.items()}
    alone, unseen = context.scene.copy(), bpy.data.collections.new("seen in shadows and reflections alone")
    try:
        for layer in alone.view_layers.values():
            if layer.name != context.view_layer.name:  # of several, Blender writes the first that it renders
                alone.view_layers.remove(layer)
        alone.view_layers[0].use = True
        for child in alone.collection.children.values():
            alone.collection.children.unlink(child)
        for thing in alone.collection.objects.values():
            alone.collection.objects.unlink(thing)
        alone.collection.children.link(unseen)
        alone.view_layers[0].layer_collection.children[unseen.name].indirect_only = True
        for thing in {*kept, context.scene.camera}:
            holder = unseen if thing.indirect_only_get(view_layer=context.view_layer) else alone.collection
            holder.objects.link(rests.get(thing, thing))
        yield alone
    finally:
        bpy.data.scenes.remove(alone)
        bpy.data.batch_remove([unseen, *(one.instance_collection for one in rests.values()), *rests.values()])


def make_rest(root: bpy.types.Object, gone: set[bpy.types.Object]) -> bpy.types.Object:
    """A new instancer like `root`, of what that one instances without `gone` and what hangs on them."""
    finder, whole = ArmatureFinder(gone.__contains__), root.instance_collection
    rest = root.copy()
    rest.instance_collection = bpy.data.collections.new(whole.name)
    rest.instance_collection.instance_offset = whole.instance_offset
    for thing in {*shown_objects(whole)}:
        if finder.find(thing) is None:
            rest.instance_collection.objects.link(thing)
    return rest


def render_still(scene: bpy.types.Scene, path: Path, width: int, height: int) -> None:
    """`scene` as a PNG, no larger than a backdrop needs to be. Raises RuntimeError."""
    scale = min(1, SHORT_SIDE_PX / min(width, height))
    render, output = scene.render, scene.render.image_settings
    render.resolution_x, render.resolution_y, render.resolution_percentage = round(width * scale), round(height * scale), 100
    render.use_border = render.use_sequencer = render.use_compositing = render.film_transparent = False
    render.use_multiview = render.use_stamp = False
    render.filepath = str(path)
    if hasattr(output, "media_type"):  # from Blender 5.0 on, which takes what is in braces for a variable
        output.media_type, render.filepath = "IMAGE", str(path).replace("{", "{{").replace("}", "}}")
    output.file_format, output.color_mode, output.color_depth, output.color_management = "PNG", "RGB", "8", "FOLLOW_SCENE"
    bpy.ops.render.render(write_still=True, scene=scene.name)
    if not path.exists():
        raise RuntimeError("the render was cancelled")


register, unregister = bpy.utils.register_classes_factory((BEYONDSCENE_OT_render_backdrop,))
