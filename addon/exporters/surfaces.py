"""The meshes of a scene as triangles of the world, and which of them are whose body, clothes and things."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import bpy
import numpy as np

from .chosen import gather_chosen
from .instancing import Unrendered, find_unrendered, is_at_parent
from .joints import transform
from .leaders import ArmatureFinder, background_layers, is_shown, is_solid, rendered_objects
from .people import Person

NO_PLACE = 2**31 - 1  # in Blender's persistent_id
PROP = -1  # owner of what is nobody's: it hides people and has no mask


class Surface(NamedTuple):
    """A mesh or instance as evaluated, in the world.

    triangles: float64 (N, 3, 3), Blender units. owner: index into the people, or PROP.
    normals: (N, 3, 3), of each corner as it is shaded, of any length, on the side from which the corners run anticlockwise;
        None unless they were asked for.
    chosen: points of a face, see gather_chosen; (3,) each.
    """

    triangles: np.ndarray
    owner: int
    normals: np.ndarray | None
    chosen: dict[str, np.ndarray]


class Shape(NamedTuple):
    """The same in the object's own frame, float32, before it is known where it stands and whose it is.

    box: (4, 8), the corners of what holds it all, each x, y, z, 1.
    """

    triangles: np.ndarray
    normals: np.ndarray | None
    chosen: dict[str, np.ndarray]
    box: np.ndarray


def gather_surfaces(
    view_layer: bpy.types.ViewLayer,
    depsgraph: bpy.types.Depsgraph,
    people: Sequence[Person],
    *,
    planes: np.ndarray | None = None,
    with_normals: bool = False,
) -> Iterator[Surface]:
    """All that the scene and its background sets show as surfaces. Left out is what is hidden in the viewport or in renders,
    what is shown as wire or bounds, and the shapes of bones.

    planes: (n, 4) as of frame_planes, for Blender units; props beyond one of them are left out as well.
    """
    owners = Owners(people, depsgraph)
    layers = [view_layer, *background_layers(depsgraph.scene)]
    held = [(layer, rendered_objects(layer.layer_collection)) for layer in layers]
    rendered = {thing for layer, things in held for thing in things if is_shown(thing, layer)}
    renderable = set().union(*(things for _, things in held))  # also what is hidden in the viewport
    shapes = set().union(*map(bone_shapes, layers))
    unrendered: Unrendered = {}
    known: dict[int, Shape] = {}  # by mesh: leaves and stones come again and again
    for instance in depsgraph.object_instances:
        evaluated, source = instance.object, instance.object.original
        root = instance.parent.original if instance.is_instance else source
        world = np.array(instance.matrix_world)
        # also of what has no surface: an empty may carry others
        owner = owners.find_inside(root, instance, world) if instance.is_instance else owners.find(source)
        if evaluated.type != "MESH" or not instance.show_self or not is_solid(source) or source in shapes:
            continue
        if root not in rendered or is_left_out(instance, renderable, unrendered):
            continue
        mesh = evaluated.data.as_pointer()
        if mesh not in known:
            known[mesh] = gather_shape(evaluated, with_normals)
        triangles, normals, chosen, box = known[mesh]
        if owner == PROP and planes is not None and (planes @ world @ box).max(1).min() < 0:
            continue
        if normals is not None:
            # a mirror turns the corners of a triangle the other way round, and with them its front
            normals = normals @ np.linalg.pinv(world[:3, :3]) * (-1 if np.linalg.det(world[:3, :3]) < 0 else 1)
        chosen = {name: transform(world, place) for name, place in chosen.items()}
        yield Surface(triangles @ world[:3, :3].T + world[:3, 3], owner, normals, chosen)


def is_left_out(
    instance: bpy.types.DepsgraphObjectInstance, renderable: Collection[bpy.types.Object], unrendered: Unrendered
) -> bool:
    """Whether a render leaves out `instance` for a reason by which the viewport does not.

    renderable: what of the scene is in no collection that is switched off for renders. unrendered: see find_unrendered.
    """
    source = instance.object.original
    root = instance.parent.original if instance.is_instance else source
    if is_at_parent(root):
        return True
    if not instance.is_instance:
        return not source.show_instancer_for_render and (source.is_instancer or bool(source.particle_systems))
    if source.hide_render and not instance.particle_system:  # particles show their object all the same
        return True
    return not root.visible_camera or source in find_unrendered(root, renderable, unrendered)


def gather_shape(evaluated: bpy.types.Object, with_normals: bool) -> Shape:
    mesh = evaluated.to_mesh()  # and not .data, which lacks a subdivision that Blender left to the GPU
    mesh.calc_loop_triangles()
    places = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", places)
    corners = np.empty(len(mesh.loop_triangles) * 3, np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    normals = None
    if with_normals:
        loops = np.empty(len(mesh.loop_triangles) * 3, np.int32)
        mesh.loop_triangles.foreach_get("loops", loops)
        shaded = np.empty(len(mesh.loops) * 3, np.float32)
        mesh.corner_normals.foreach_get("vector", shaded)
        normals = shaded.reshape(-1, 3)[loops].reshape(-1, 3, 3)
    triangles = places.reshape(-1, 3)[corners].reshape(-1, 3, 3)
    shape = Shape(triangles, normals, gather_chosen(evaluated, mesh), find_box(triangles))
    evaluated.to_mesh_clear()
    return shape


def find_box(triangles: np.ndarray) -> np.ndarray:
    """The `box` of a Shape of these."""
    places = triangles.reshape(-1, 3).astype(np.float64)
    if not len(places):
        return np.tile([[0.0], [0.0], [0.0], [1.0]], 8)
    return np.array([*product(*zip(places.min(0), places.max(0), strict=True), (1.0,))]).T


class Owners:
    """Whose a thing is, by index into `people`, or PROP."""

    def __init__(self, people: Sequence[Person], depsgraph: bpy.types.Depsgraph) -> None:
        self._depsgraph = depsgraph
        self._standing = {person.armature: index for index, person in enumerate(people) if not person.instancers}
        self._finder = ArmatureFinder(self._standing.__contains__)
        self._inside: dict[bpy.types.Object, list[tuple[int, bpy.types.Object, np.ndarray]]] = defaultdict(list)
        for index, person in enumerate(people):
            if person.instancers:
                self._inside[person.instancers[0]].append((index, person.armature, person.frame(depsgraph)))
        self._finders = {
            root: ArmatureFinder({rig for _, rig, _ in inside}.__contains__) for root, inside in self._inside.items()
        }
        self._found: dict[tuple[bpy.types.Object, tuple[int, ...]], int] = {}  # inside: by the instancer and find_way

    def find(self, thing: bpy.types.Object) -> int:
        """Of what stands in the scene itself."""
        armature = self._finder.find(thing)
        return PROP if armature is None else self._standing[armature]

    def find_inside(self, root: bpy.types.Object, instance: bpy.types.DepsgraphObjectInstance, world: np.ndarray) -> int:
        """Of `instance` by `root`: an instanced rig's, else that of what instances it in turn, which comes before it, else the
        root's own; a copy of somebody's clothes that stands elsewhere is not theirs.

        world: (4, 4), of this instance. Where a collection comes twice, the rig that came the same way is the one.
        """
        if root not in self._finders:
            return self.find(root)
        thing, way = instance.object.original, find_way(instance)
        armature = self._finders[root].find(thing)
        if armature is None:
            outer = (self._found.get((root, way[step:])) for step in range(1, len(way)))
            owner = next((one for one in outer if one is not None), self.find(root))
        else:
            frame = world @ np.linalg.pinv(np.array(thing.evaluated_get(self._depsgraph).matrix_world))
            candidates = [(np.abs(own - frame).max(), index) for index, rig, own in self._inside[root] if rig == armature]
            owner = min(candidates)[1]
        self._found[root, way] = owner
        return owner


def find_way(instance: bpy.types.DepsgraphObjectInstance) -> tuple[int, ...]:
    """Its place in what instances it, the place of that in turn, and so on outwards."""
    return tuple(place for place in instance.persistent_id if place != NO_PLACE)


def bone_shapes(view_layer: bpy.types.ViewLayer) -> set[bpy.types.Object]:
    """The handles that animators grab in place of bones: those in use, and those that Rigify has named so."""
    rigs = [thing for thing in view_layer.objects if thing.type == "ARMATURE"]
    named = {thing for thing in view_layer.objects if thing.name.startswith("WGT-")}
    posed = [rig.pose for rig in rigs if rig.pose]  # there is none before Blender first evaluates a rig
    return named.union(bone.custom_shape for pose in posed for bone in pose.bones if bone.custom_shape)
