"""The compositor: a node with the picture beside what is there; nothing is rewired."""

from typing import Any

import bpy

from ..images import follow_frames
from .errors import check_kept

LABEL, ICON, WHAT = "Compositor", "NODE_COMPOSITING", "Add an image node with it to the scene's compositor; nothing is rewired"
GAP = 300  # between nodes, in the tree's own units


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    check_kept(context.scene)
    check_kept(tree := compositing_tree(context.scene))
    node = next((one for one in tree.nodes if one.bl_idname == "CompositorNodeImage" and one.image == image), None)
    if node is None:
        lowest = min((one.location.y for one in tree.nodes), default=0)
        node = tree.nodes.new("CompositorNodeImage")
        node.image, node.label, node.location = image, image.name, (-GAP, lowest - GAP)
        follow_frames(node, image)
    for one in tree.nodes:
        one.select = one == node
    tree.nodes.active = node
    return f"The node '{node.label}' is in the compositor"


def compositing_tree(scene: Any) -> bpy.types.NodeTree:
    """The scene's tree; where there is none, one that shows the render as it is."""
    if not hasattr(scene, "compositing_node_group"):  # before Blender 5.0
        if scene.node_tree is None:  # else it is the artist's, on or off
            scene.use_nodes = True
        return scene.node_tree
    if scene.compositing_node_group is None:
        tree = bpy.data.node_groups.new(f"{scene.name} Compositing", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        layers, end = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("NodeGroupOutput")
        layers.location.x = -GAP
        tree.links.new(layers.outputs["Image"], end.inputs["Image"])
        scene.compositing_node_group = tree
    return scene.compositing_node_group
