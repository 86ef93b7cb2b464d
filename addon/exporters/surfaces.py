"""The meshes of a scene as triangles of the world, and which of them are whose body, clothes and things."""

from collections.abc import Iterator, Sequence

import bpy
import numpy as np

PROP = -1  # owner of what is nobody's: it hides people and has no mask
DEFORMERS = {"ARMATURE": "object", "MESH_DEFORM": "object", "SURFACE_DEFORM": "target"}  # modifiers, and whom they name
HOLDERS = ("CHILD_OF", "COPY_TRANSFORMS")  # constraints by which a hand holds a thing


def gather_surfaces(
    view_layer: bpy.types.ViewLayer, depsgraph: bpy.types.Depsgraph, armatures: Sequence[bpy.types.Object]
) -> Iterator[tuple[np.ndarray, int]]:
    """Each mesh and instance as evaluated: triangles, float64 (N, 3, 3) Blender units of the world, and their owner.

    owner: index into `armatures`, or PROP. Left out is what is hidden in the viewport or in renders, what is shown as
    wire or bounds, and the shapes of bones.
    """
    owners = {armature: index for index, armature in enumerate(armatures)}
    rendered, shapes = rendered_objects(view_layer.layer_collection), bone_shapes(view_layer)
    known: dict[int, np.ndarray] = {}  # by mesh: leaves and stones come again and again
    for instance in depsgraph.object_instances:
        evaluated, source = instance.object, instance.object.original
        # An instance belongs to whom its instancer belongs: the mesh itself may follow an armature that stands elsewhere.
        root = instance.parent.original if instance.is_instance else source
        if evaluated.type != "MESH" or not instance.show_self or not is_solid(source) or source in shapes:
            continue
        if root not in rendered or root.hide_render or not root.visible_get(view_layer=view_layer):
            continue
        mesh = evaluated.data.as_pointer()
        if mesh not in known:
            known[mesh] = gather_triangles(evaluated)
        world = np.array(instance.matrix_world)
        yield known[mesh] @ world[:3, :3].T + world[:3, 3], find_owner(root, owners)


def gather_triangles(evaluated: bpy.types.Object) -> np.ndarray:
    """float32 (N, 3, 3), in the object's own frame."""
    mesh = evaluated.to_mesh()  # and not .data, which lacks a subdivision that Blender left to the GPU
    mesh.calc_loop_triangles()
    places = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", places)
    corners = np.empty(len(mesh.loop_triangles) * 3, np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    evaluated.to_mesh_clear()
    return places.reshape(-1, 3)[corners].reshape(-1, 3, 3)


def find_owner(
    thing: bpy.types.Object, owners: dict[bpy.types.Object, int], seen: frozenset[bpy.types.Object] = frozenset()
) -> int:
    """Whose `thing` is: the index of the armature that it follows, be it by way of a body or a hat; else PROP."""
    if thing in owners:
        return owners[thing]
    for leader in find_leaders(thing):
        if leader is not None and leader not in seen:
            owner = find_owner(leader, owners, seen | {thing})
            if owner != PROP:
                return owner
    return PROP


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


def bone_shapes(view_layer: bpy.types.ViewLayer) -> set[bpy.types.Object]:
    """The handles that animators grab in place of bones: those in use, and those that Rigify has named so."""
    rigs = [thing for thing in view_layer.objects if thing.type == "ARMATURE"]
    named = {thing for thing in view_layer.objects if thing.name.startswith("WGT-")}
    return named.union(bone.custom_shape for rig in rigs for bone in rig.pose.bones if bone.custom_shape)
