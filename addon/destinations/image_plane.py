"""A plane behind everybody that fills the camera's view, lit by itself."""

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..exporters import find_people
from ..images import size_of
from .errors import DestinationError
from .nodes import add_texture, clear_nodes

LABEL, ICON, WHAT = "Image Plane", "MESH_PLANE", "Add a plane with the picture, behind everybody, that fills the camera's view"
BEHIND = 1.5  # times the distance of the farthest person
ALONE_M = 10.0  # from the camera where there is nobody


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    scene, camera = context.scene, context.scene.camera
    if camera is None or camera.type != "CAMERA" or camera.data.type not in ("PERSP", "ORTHO"):
        raise DestinationError("The scene has no perspective or orthographic camera: add one first.")
    distance = choose_distance(context, camera)
    mesh = bpy.data.meshes.new(image.name)
    mesh.from_pydata(frame_corners(context, camera, image, distance), [], [(0, 1, 2, 3)])
    uv = mesh.uv_layers.new(name="UVMap")
    for loop, at in zip(uv.data, ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True):
        loop.uv = at
    mesh.materials.append(make_material(image))
    plane = bpy.data.objects.new(image.name, mesh)
    scene.collection.objects.link(plane)
    plane.matrix_world = camera.matrix_world.normalized()
    plane.parent, plane.matrix_parent_inverse = camera, camera.matrix_world.inverted()
    return f"Added the plane '{plane.name}', {distance:.1f} units from the camera"


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


def frame_corners(
    context: bpy.types.Context, camera: bpy.types.Object, image: bpy.types.Image, distance: float
) -> list[tuple[float, float, float]]:
    """Bottom left, bottom right, top right, top left of the picture's frame, in the camera's own space."""
    width, height = size_of(image)
    render = context.scene.render
    ndc = np.array(
        camera.calc_matrix_camera(
            context.evaluated_depsgraph_get(),
            x=width,
            y=height,
            scale_x=render.pixel_aspect_x,
            scale_y=render.pixel_aspect_y,
        )
    )
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    if camera.data.type == "ORTHO":
        return [((x - ndc[0, 3]) / ndc[0, 0], (y - ndc[1, 3]) / ndc[1, 1], -distance) for x, y in corners]
    return [((x + ndc[0, 2]) / ndc[0, 0] * distance, (y + ndc[1, 2]) / ndc[1, 1] * distance, -distance) for x, y in corners]


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
