"""What moves a thing, by way of whatever it hangs on, and whether anything of it is to be seen."""

from collections.abc import Callable, Collection, Iterator
from itertools import dropwhile
from typing import Any

import bpy

DEFORMERS = {"ARMATURE": "object", "MESH_DEFORM": "object", "SURFACE_DEFORM": "target"}  # modifiers, and whom they name
HOLDERS = ("CHILD_OF", "COPY_TRANSFORMS")  # constraints by which a hand holds a thing
PICTURE_PLANE = "beyondscene_picture_plane"  # custom property of the planes that show our own pictures


class ArmatureFinder:
    """Which armature is or moves a thing, be it by way of a body or a hat; what was found is remembered."""

    def __init__(self, is_sought: Callable[[bpy.types.Object], bool]) -> None:
        """is_sought: whether it is one of the armatures that count."""
        self._is_sought = is_sought
        self._found: dict[bpy.types.Object, bpy.types.Object] = {}
        self._unmoved: set[bpy.types.Object] = set()  # by none of them

    def find(self, thing: bpy.types.Object) -> bpy.types.Object | None:
        passed = []
        for mover in find_movers(thing, self._unmoved):
            armature = mover if self._is_sought(mover) else self._found.get(mover)
            if armature is not None:
                self._found[thing] = armature
                return armature
            passed.append(mover)
        self._unmoved.update(passed)
        return None


def find_movers(thing: bpy.types.Object, without: Collection[bpy.types.Object] = ()) -> Iterator[bpy.types.Object]:
    """`thing` and all that moves it, each once and followed by what moves it in turn; `without` these and what moves them."""
    seen: set[bpy.types.Object] = set()
    waiting = [thing]
    while waiting:
        mover = waiting.pop()
        if mover not in seen and mover not in without:
            seen.add(mover)
            yield mover
            waiting += reversed(find_leaders(mover))


def find_leaders(thing: bpy.types.Object) -> list[bpy.types.Object]:
    """What moves `thing`: what deforms it first, then what holds it, then the rig that it copies, then its parent, be that by a
    bone or as a whole.
    """
    deformers = [
        getattr(modifier, DEFORMERS[modifier.type])
        for modifier in thing.modifiers
        if modifier.type in DEFORMERS and modifier.show_viewport
    ]
    return [leader for leader in (*deformers, *find_holders(thing), find_copied(thing), thing.parent) if leader is not None]


def find_unposed(view_layer: bpy.types.ViewLayer) -> bpy.types.Object | None:
    """A rig or a body in a mode in which Blender shows it without its pose; None where there is none."""
    # also of those that are not active: without Lock Object Modes they stay in their mode
    unposed = (one for one in bpy.data.objects if one.mode in ("EDIT", "SCULPT") and loses_pose(one))
    return next((one for one in unposed if is_held(one, view_layer)), None)


def is_held(thing: bpy.types.Object, view_layer: bpy.types.ViewLayer) -> bool:
    """Whether `thing` stands in `view_layer`, or in a collection that something there instances."""
    if thing in view_layer.objects.values():
        return True
    holders = {one for one in bpy.data.collections if thing in one.all_objects.values()}
    return any(one.instance_collection in holders for one in view_layer.objects)


def loses_pose(thing: bpy.types.Object) -> bool:
    """Whether the mode of `thing`, EDIT or SCULPT, shows it without its pose."""
    shown = [one for one in thing.modifiers if one.show_viewport]
    if thing.mode == "SCULPT" and not thing.use_dynamic_topology_sculpting:
        shown = [*dropwhile(lambda one: not is_sculpted(one), shown)]  # and what is before it counts
    deformers = [one for one in shown if one.type in DEFORMERS]
    if thing.mode == "EDIT":
        return thing.type == "ARMATURE" or any(not one.show_in_editmode for one in deformers)
    return bool(deformers)


def is_sculpted(modifier: Any) -> bool:
    """Whether Sculpt Mode works on what `modifier` adds, and so leaves out what comes after it."""
    return modifier.type == "MULTIRES" and modifier.sculpt_levels > 0


def find_holders(thing: bpy.types.Object) -> list[bpy.types.Object | None]:
    """What holds `thing` by a constraint, the strongest first, and of equals the last, which has the final say."""
    holds: list[tuple[float, bpy.types.Object | None]] = []
    for constraint in thing.constraints:
        if not constraint.enabled:
            continue
        if constraint.type == "ARMATURE":
            holds += [(constraint.influence * bone.weight, bone.target) for bone in constraint.targets]
        elif constraint.type in HOLDERS or (constraint.type == "COPY_LOCATION" and constraint.subtarget):
            holds.append((constraint.influence, constraint.target))
    holds.sort(key=lambda hold: hold[0])
    return [target for share, target in reversed(holds) if share > 0]


def find_copied(rig: bpy.types.Object) -> bpy.types.Object | None:
    """The rig upon whose bones those of `rig` with the same names lie, as the rig of a MetaHuman's head on that of its body."""
    copies = (
        constraint.target
        for bone in (rig.pose.bones if rig.pose else ())
        for constraint in bone.constraints
        if constraint.type == "COPY_TRANSFORMS" and constraint.enabled and constraint.influence > 0
        if constraint.subtarget == bone.name and constraint.target not in (None, rig)
        if constraint.owner_space == constraint.target_space == "WORLD"  # in others it may be a twin who stands elsewhere
    )
    return next(copies, None)


def is_solid(thing: bpy.types.Object) -> bool:
    """Whether the camera sees `thing` where it is rendered, and as its surface."""
    if thing.get(PICTURE_PLANE):
        return False
    return thing.display_type not in ("WIRE", "BOUNDS") and thing.visible_camera


def is_shown(thing: bpy.types.Object, view_layer: bpy.types.ViewLayer) -> bool:
    """Whether `thing`, which is among the rendered_objects, is visible itself, and not in shadows and reflections alone."""
    if thing.hide_render or thing.indirect_only_get(view_layer=view_layer):
        return False
    return thing.visible_get(view_layer=view_layer)


def rendered_objects(layer: bpy.types.LayerCollection) -> set[bpy.types.Object]:
    """What `layer` and those below hold, without the collections that are switched off for renders."""
    if layer.collection.hide_render:
        return set()
    objects = set() if layer.exclude else set(layer.collection.objects)
    return objects.union(*(rendered_objects(child) for child in layer.children))


def background_layers(scene: bpy.types.Scene) -> Iterator[bpy.types.ViewLayer]:
    """By which Blender renders what stands behind `scene`: its Background Set, the one of that, and so on."""
    while scene := scene.background_set:
        yield next((layer for layer in scene.view_layers if layer.use), scene.view_layers[0])
