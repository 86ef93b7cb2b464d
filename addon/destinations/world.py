"""The world: what the camera sees where nothing is. The world that was there stays in the file."""

import bpy

from .nodes import add_texture, clear_nodes

LABEL, ICON, WHAT = "World", "WORLD", "Make a world that shows it in the camera's frame, behind everything; the old one is kept"


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    scene, before = context.scene, context.scene.world
    world = bpy.data.worlds.new(image.name)
    tree = clear_nodes(world)
    where, texture = tree.nodes.new("ShaderNodeTexCoord"), add_texture(tree, image)
    background, end = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeOutputWorld")
    tree.links.new(where.outputs["Window"], texture.inputs["Vector"])
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    tree.links.new(background.outputs["Background"], end.inputs["Surface"])
    for node, x in ((where, -700), (texture, -500), (background, -200), (end, 0)):
        node.location.x = x
    if before is not None:
        before.use_fake_user = True  # or it would go when the file is saved
    scene.world = world
    return f"The world is '{world.name}'" + (f"; '{before.name}' is kept" if before else "")
