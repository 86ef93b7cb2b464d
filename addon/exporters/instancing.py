"""What collections, particles, vertices and faces instance, and what a render leaves out of it."""

from collections.abc import Callable, Collection, Iterable, Iterator

import bpy

SCATTERERS = ("VERTS", "FACES")  # types of instancing: of the children, at each of these

Unrendered = dict[bpy.types.ID, set[bpy.types.Object]]


def instances(thing: bpy.types.Object) -> bool:
    return thing.instance_type == "COLLECTION" and thing.instance_collection is not None


def find_unrendered(root: bpy.types.Object, rendered: Collection[bpy.types.Object], known: Unrendered) -> set[bpy.types.Object]:
    """What `root` instances by a collection, particles, vertices or faces, at any depth, and a render leaves out.

    rendered: what stands in the scene and is. known: the same of others; takes what is found here.
    """
    place = root.instance_collection if instances(root) and not root.particle_systems else root
    if place not in known:
        held = root.children if root.instance_type in SCATTERERS else ()
        every = reach(root, held, lambda one: one.all_objects)
        kept = [thing for thing in held if thing in rendered and not thing.hide_render]
        known[place] = every - reach(root, kept, rendered_contents)
    return known[place]


def reach(
    root: bpy.types.Object,
    held: Iterable[bpy.types.Object],
    contents: Callable[[bpy.types.Collection], Iterable[bpy.types.Object]],
) -> set[bpy.types.Object]:
    """`held`, what `root` instances, and what these instance, at any depth. contents: of a collection."""
    found: set[bpy.types.Object] = set()
    waiting = [root, *held]
    while waiting:
        thing = waiting.pop()
        found.add(thing)
        settings = [system.settings for system in thing.particle_systems]
        inside = {one.instance_object for one in settings if one.render_type == "OBJECT"} - {None}
        inside.update(contents(thing.instance_collection) if instances(thing) else ())
        for one in settings:
            if one.render_type == "COLLECTION" and one.instance_collection:
                shown = contents(one.instance_collection)  # which take the places of the others unless each particle is all
                inside.update(shown if one.use_whole_collection or not shown else one.instance_collection.all_objects)
        waiting += inside - found
    return found - {root}


def rendered_contents(collection: bpy.types.Collection) -> set[bpy.types.Object]:
    """What a render of an instance of `collection` shows."""
    shown = {thing for thing in shown_objects(collection) if not thing.hide_render}
    return {thing for thing in shown if not is_at_parent(thing) or thing.parent in shown}


def is_at_parent(thing: bpy.types.Object) -> bool:
    """Whether it is rendered at the vertices or faces of its parent, and not where it stands itself."""
    return thing.parent is not None and thing.parent.instance_type in SCATTERERS


def shown_objects(collection: bpy.types.Collection) -> Iterator[bpy.types.Object]:
    """What an instance of `collection` shows; view layers have no say there."""
    if collection.hide_viewport or collection.hide_render:
        return
    yield from (thing for thing in collection.objects if not thing.hide_viewport)
    for child in collection.children:
        yield from shown_objects(child)
