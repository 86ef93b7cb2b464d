"""A plane behind everybody that fills the camera's view, lit by itself."""

import bpy
from mathutils import Matrix, Vector

from ..exporters import PICTURE_PLANE, find_people
from .errors import DestinationError, check_kept
from .frame import Frame, camera_of, picture_frame
from .nodes import add_texture, clear_nodes

LABEL, ICON, WHAT = "Image Plane", "MESH_PLANE", "Add a plane with the picture, behind everybody, that fills the camera's view"
# Ways in which it would light, shade or mirror the scene: it is for the camera alone.
UNSEEN = ("visible_diffuse", "visible_glossy", "visible_transmission", "visible_volume_scatter", "visible_shadow")
BEHIND = 1.5  # times the distance of the farthest person
ALONE_M = 10.0  # from the camera where there is nobody


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    check_kept(context.scene)
    camera = camera_of(context.scene)
    plane = find_plane(context.scene, camera)
    if plane and not plane.is_editable:
        raise DestinationError(
            f"The plane '{plane.name}' is linked from another file, and would not keep the picture: make a library override of "
            "it first."
        )
    if plane and plane.mode == "EDIT":  # in which Blender lets it keep its mesh, and says nothing
        raise DestinationError(f"The plane '{plane.name}' is in Edit Mode: leave that mode first.")
    distance = choose_distance(context, camera)
    mesh = make_mesh(image, frame_corners(picture_frame(context, camera, image), camera, distance))
    done = "Added the plane" if plane is None else "Put it on the plane"
    if plane is None:
        plane = bpy.data.objects.new(image.name, mesh)
        plane[PICTURE_PLANE] = True
        context.scene.collection.objects.link(plane)
        for way in UNSEEN:
            setattr(plane, way, False)
    else:
        before, plane.data = plane.data, mesh
        remove_mesh(before)
    # by its parent inverse alone, since its own location, rotation and scale cannot shear, as a parent of the camera may
    plane.parent, plane.matrix_basis = camera, Matrix()
    plane.matrix_parent_inverse = camera.matrix_world.inverted() @ camera.matrix_world.normalized()
    return f"{done} '{plane.name}', {distance:.1f} units from the camera"


def find_plane(scene: bpy.types.Scene, camera: bpy.types.Object) -> bpy.types.Object | None:
    """The one that an earlier click has put before `camera`."""
    return next((one for one in scene.objects if one.parent == camera and one.get(PICTURE_PLANE) and one.type == "MESH"), None)


def make_mesh(image: bpy.types.Image, corners: list[tuple[float, float, float]]) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new(image.name)
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    uv = mesh.uv_layers.new(name="UVMap")
    for loop, at in zip(uv.data, ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True):
        loop.uv = at
    mesh.materials.append(make_material(image))
    return mesh


def remove_mesh(mesh: bpy.types.Mesh) -> None:
    """With its materials, as far as nothing else uses them."""
    materials = [one for one in mesh.materials if one]
    if not mesh.users:
        bpy.data.meshes.remove(mesh)
    for one in materials:
        if not one.users:
            bpy.data.materials.remove(one)


def choose_distance(context: bpy.types.Context, camera: bpy.types.Object) -> float:
    """In Blender units: beyond everybody, and before the end of what the camera sees."""
    into_camera = camera.matrix_world.normalized().inverted()
    depsgraph = context.evaluated_depsgraph_get()
    depths = [
        -(into_camera @ Matrix(person.world(depsgraph)) @ Vector(corner)).z
        for person in find_people(context.view_layer)
        for corner in person.armature.bound_box
    ]
    farthest = max(depths, default=0.0)
    return min(farthest * BEHIND if farthest > 0 else ALONE_M, camera.data.clip_end * 0.99)


def frame_corners(frame: Frame, camera: bpy.types.Object, distance: float) -> list[tuple[float, float, float]]:
    """Bottom left, bottom right, top right, top left of `frame`, in the camera's own space."""
    scale = 1.0 if camera.data.type == "ORTHO" else distance
    corners = ((frame.left, frame.bottom), (frame.right, frame.bottom), (frame.right, frame.top), (frame.left, frame.top))
    return [(x * scale, y * scale, -distance) for x, y in corners]


def make_material(image: bpy.types.Image) -> bpy.types.Material:
    material = bpy.data.materials.new(image.name)
    tree = clear_nodes(material)
    light, end = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    texture = add_texture(tree, image)
    tree.links.new(texture.outputs["Color"], light.inputs["Color"])
    tree.links.new(light.outputs["Emission"], end.inputs["Surface"])
    for node, x in ((texture, -500), (light, -200), (end, 0)):
        node.location.x = x
    return material
