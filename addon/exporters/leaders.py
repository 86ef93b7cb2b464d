"""What moves a thing, by way of whatever it hangs on, and whether anything of it is to be seen."""

from collections.abc import Collection, Iterator
from itertools import chain

import bpy

DEFORMERS = {"ARMATURE": "object", "MESH_DEFORM": "object", "SURFACE_DEFORM": "target"}  # modifiers, and whom they name
HOLDERS = ("CHILD_OF", "COPY_TRANSFORMS")  # constraints by which a hand holds a thing


def find_armature(thing: bpy.types.Object, armatures: Collection[bpy.types.Object]) -> bpy.types.Object | None:
    """Which of `armatures` is or moves `thing`, be it by way of a body or a hat."""
    return next((one for one in chain((thing,), find_movers(thing)) if one in armatures), None)


def find_movers(thing: bpy.types.Object, seen: frozenset[bpy.types.Object] = frozenset()) -> Iterator[bpy.types.Object]:
    """All that moves `thing`, each followed by what moves it in turn."""
    for leader in find_leaders(thing):
        if leader is not None and leader not in seen:
            yield leader
            yield from find_movers(leader, seen | {thing})


def find_leaders(thing: bpy.types.Object) -> Iterator[bpy.types.Object | None]:
    """What moves `thing`: what deforms it first, then what holds it, then its parent, be that by a bone or as a whole."""
    for modifier in thing.modifiers:
        if modifier.type in DEFORMERS and modifier.show_viewport:
            yield getattr(modifier, DEFORMERS[modifier.type])
    for constraint in thing.constraints:
        if constraint.type in HOLDERS and constraint.enabled:
            yield constraint.target
    yield thing.parent


def is_solid(thing: bpy.types.Object) -> bool:
    return thing.display_type not in ("WIRE", "BOUNDS") and not thing.hide_render and thing.visible_camera


def rendered_objects(layer: bpy.types.LayerCollection) -> set[bpy.types.Object]:
    """What `layer` and those below hold, without the collections that are switched off for renders."""
    if layer.collection.hide_render:
        return set()
    objects = set() if layer.exclude else set(layer.collection.objects)
    return objects.union(*(rendered_objects(child) for child in layer.children))
