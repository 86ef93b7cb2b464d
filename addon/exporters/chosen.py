"""Points of a face that an artist chose: vertex groups of the head's mesh that are called as they are."""

import bpy
import numpy as np

from ...protocol import FACE_NAMES

PREFIX = "Face "  # before the name of a point
GROUPS = {PREFIX + name: name for name in FACE_NAMES}


def gather_chosen(evaluated: bpy.types.Object, mesh: bpy.types.Mesh) -> dict[str, np.ndarray]:
    """Where each point with a vertex group lies, by its name: the mean of its vertices by weight, (3,) in the object's frame.

    mesh: of `evaluated`, so that a point follows shape keys, bones and whatever else moves its vertices. Copies of these that
        Mirror and other modifiers add, after the mesh's own, count only where none of its own are left.
    """
    names = {group.index: GROUPS[group.name] for group in evaluated.vertex_groups if group.name in GROUPS}
    if not names:
        return {}
    own, sums = len(getattr(evaluated.original.data, "vertices", ())), {index: np.zeros(4) for index in names}
    for part in (slice(own), slice(own, None)):
        lacking = {index for index, total in sums.items() if total[3] == 0}
        for vertex in mesh.vertices[part] if lacking else ():
            for membership in vertex.groups:
                if membership.group in lacking:
                    sums[membership.group] += membership.weight * np.array((*vertex.co, 1.0))
    return {names[index]: total[:3] / total[3] for index, total in sums.items() if total[3] > 0}
