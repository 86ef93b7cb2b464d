"""The texture of a picture in a shader."""

from typing import Any

import bpy

from ..images import follow_frames


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
    follow_frames(texture.image_user, image)
    return texture
