"""The world: what the camera sees where nothing is. The world that was there stays in the file."""

import bpy

from .errors import check_kept
from .frame import camera_of, picture_frame, render_frame
from .nodes import add_texture, clear_nodes

LABEL, ICON, WHAT = "World", "WORLD", "Make a world that shows it in the camera's frame, behind everything; the old one is kept"


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    check_kept(context.scene)
    scene, before, camera = context.scene, context.scene.world, camera_of(context.scene)
    picture, render = picture_frame(context, camera, image), render_frame(context, camera)
    world = bpy.data.worlds.new(image.name)
    tree = clear_nodes(world)
    window, mapping = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMapping")
    texture = add_texture(tree, image)
    background, end = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeOutputWorld")
    # from 0..1 of the render's frame to 0..1 of the picture's
    mapping.inputs["Scale"].default_value = (render.width / picture.width, render.height / picture.height, 1)
    mapping.inputs["Location"].default_value = (
        (render.left - picture.left) / picture.width,
        (render.bottom - picture.bottom) / picture.height,
        0,
    )
    tree.links.new(window.outputs["Window"], mapping.inputs["Vector"])
    tree.links.new(mapping.outputs["Vector"], texture.inputs["Vector"])
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    tree.links.new(background.outputs["Background"], end.inputs["Surface"])
    for node, x in ((window, -900), (mapping, -700), (texture, -500), (background, -200), (end, 0)):
        node.location.x = x
    if before is not None:
        before.use_fake_user = True  # or it would go when the file is saved
    scene.world = world
    return f"The world is '{world.name}'" + (f"; '{before.name}' is kept" if before else "")
