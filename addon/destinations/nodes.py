"""The texture of a picture in a shader."""

from typing import Any

import bpy

LONGEST_FRAMES = 100_000  # of a sequence; Blender stops at the last file by itself


def clear_nodes(owner: Any) -> Any:
    """An empty tree of a new material or world. From 5.0 on there always is one; before, it must be asked for."""
    tree = owner.node_tree
    if tree is None:
        owner.use_nodes = True
        tree = owner.node_tree
    tree.nodes.clear()
    return tree


def add_texture(tree: Any, image: bpy.types.Image) -> Any:
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image, texture.extension = image, "EXTEND"
    if image.source == "SEQUENCE":
        texture.image_user.frame_duration, texture.image_user.use_auto_refresh = LONGEST_FRAMES, True
    return texture
