"""Somebody to pose where there is no rig yet: a plain armature with handles on hands and feet, and a body that hides things."""

# bmesh comes without types
# pyright: reportAttributeAccessIssue=false

import math

import bmesh
import bpy
from bpy_extras.object_utils import object_data_add
from mathutils import Matrix, Vector

Place = tuple[float, float, float]

# Where joints are, as shares of the height: x to the figure's left, y backwards, z up. Heights and lengths are those of Drillis
# and Contini (1966) as in Winter, Biomechanics and Motor Control of Human Movement, figure 4.1; arms hang a little away from
# the body. Elbows and knees are bent by a hair, towards what they point at.
SPINE: dict[str, tuple[Place, Place]] = {
    "hips": ((0, 0, 0.53), (0, 0, 0.6)),
    "spine": ((0, 0, 0.6), (0, 0, 0.7)),
    "chest": ((0, 0, 0.7), (0, 0, 0.818)),
    "neck": ((0, 0, 0.818), (0, 0, 0.87)),
    "head": ((0, 0, 0.87), (0, 0, 1)),
}
LIMBS: dict[str, tuple[Place, Place]] = {
    "upper_arm": ((0.12, 0, 0.818), (0.165, 0.008, 0.638)),
    "forearm": ((0.165, 0.008, 0.638), (0.2, 0, 0.496)),
    "hand": ((0.2, 0, 0.496), (0.225, 0, 0.391)),
    "thigh": ((0.052, 0, 0.53), (0.057, -0.006, 0.285)),
    "shin": ((0.057, -0.006, 0.285), (0.06, 0, 0.039)),
    "foot": ((0.06, 0, 0.039), (0.065, -0.085, 0.012)),
    "toe": ((0.065, -0.085, 0.012), (0.067, -0.12, 0.01)),
}
PARENTS = {
    "spine": "hips", "chest": "spine", "neck": "chest", "head": "neck", "upper_arm": "chest", "forearm": "upper_arm",
    "hand": "forearm", "thigh": "hips", "shin": "thigh", "foot": "shin", "toe": "foot",
}  # fmt: skip
# What pulls a limb: the bone whose end it holds, the bone that turns with it, what carries it. A foot stays where it stands.
HANDLES = {"hand_handle": ("forearm", "hand", "chest"), "foot_handle": ("shin", "foot", None)}
# What the joint above such a bone points at, however its limb is pulled: its name, where it is, what carries it
POLES: dict[str, tuple[str, Place, str]] = {
    "forearm": ("elbow_handle", (0.192, 0.4, 0.528), "chest"),
    "shin": ("knee_handle", (0.057, -0.5, 0.78), "hips"),
}
POLE_LENGTH, POLE_ANGLE = 0.05, math.pi / 2
# Half the width and the depth of each bone's part of the body, as shares of the height
RADII = {
    "hips": (0.095, 0.065), "spine": (0.08, 0.06), "chest": (0.115, 0.075), "neck": (0.034, 0.034), "head": (0.046, 0.06),
    "upper_arm": (0.03, 0.03), "forearm": (0.025, 0.025), "hand": (0.014, 0.025), "thigh": (0.05, 0.052),
    "shin": (0.034, 0.036), "foot": (0.028, 0.022), "toe": (0.027, 0.014),
}  # fmt: skip
OVERLAP = 1.4  # of the length of such a part over its bone's, so that no joint gapes
RING = "BeyondScene handle"
SIDES = {".L": 1, ".R": -1}


def add_figure(context: bpy.types.Context, height: float) -> bpy.types.Object:
    """The armature of a new figure, active and with its body selected: `height` units high, at the 3D cursor, facing -Y."""
    armature = bpy.data.armatures.new("Person")
    rig = object_data_add(context, armature, name="Person")
    rig.rotation_euler = (0, 0, 0)  # upright, whatever the view
    bpy.ops.object.mode_set(mode="EDIT")
    add_bones(armature, height)
    bpy.ops.object.mode_set(mode="OBJECT")
    for side in SIDES:
        for handle, (pulled, turned, _) in HANDLES.items():
            add_handle(rig, rig.pose.bones[handle + side], pulled + side, turned + side, POLES[pulled][0] + side)
    armature.display_type, rig.show_in_front = "STICK", True
    body = bpy.data.objects.new(f"{rig.name} body", build_body(armature, f"{rig.name} body"))
    rig.users_collection[0].objects.link(body)
    if isinstance(view := context.space_data, bpy.types.SpaceView3D) and view.local_view:
        body.local_view_set(view, True)  # as the rig is, by object_data_add
    body.parent = rig
    body.lock_location = body.lock_rotation = body.lock_scale = (True, True, True)  # it is dragged by its rig alone
    body.select_set(True)  # what is done now, as Duplicate or Delete, is for both
    for bone in armature.bones:
        if bone.use_deform:
            body.vertex_groups.new(name=bone.name)
    body.modifiers.new("Armature", "ARMATURE").object = rig
    return rig


def add_bones(armature: bpy.types.Armature, height: float) -> None:
    """Those of SPINE, and of LIMBS, HANDLES and POLES on both sides. `armature` is in edit mode."""
    bones = armature.edit_bones

    def add(name: str, head: Place, tail: Place, parent: str | None, side: str = "") -> None:
        bone, mirror = bones.new(name + side), Vector((SIDES.get(side, 1), 1, 1))
        bone.head, bone.tail = (height * mirror * Vector(place) for place in (head, tail))
        bone.parent = bones.get(f"{parent}{side}") or bones.get(str(parent))
        bone.use_connect = bool(bone.parent) and bone.parent.tail == bone.head
        bone.use_deform = not name.endswith("_handle")

    for name, (head, tail) in SPINE.items():
        add(name, head, tail, PARENTS.get(name))
    for side in SIDES:
        for name, (head, tail) in LIMBS.items():
            add(name, head, tail, PARENTS[name], side)
        for handle, (_, turned, carrier) in HANDLES.items():
            add(handle, *LIMBS[turned], carrier, side)
        for pulled, (pole, place, carrier) in POLES.items():
            add(pole, place, (place[0], place[1] - POLE_LENGTH, place[2]), carrier, side)
            upper = bones[PARENTS[pulled] + side]
            upper.align_roll(bones[pole + side].head - upper.head)  # so that POLE_ANGLE is the same for all


def add_handle(rig: bpy.types.Object, handle: bpy.types.PoseBone, pulled: str, turned: str, pole: str) -> None:
    """Let `handle`, a red ring, pull the limb of two bones that ends with `pulled`, and turn what hangs on it.

    Its middle joint points at `pole`, a ring as well.
    """
    reach = rig.pose.bones[pulled].constraints.new("IK")
    reach.target, reach.subtarget, reach.chain_count = rig, handle.name, 2
    reach.pole_target, reach.pole_subtarget, reach.pole_angle = rig, pole, POLE_ANGLE
    turn = rig.pose.bones[turned].constraints.new("COPY_ROTATION")
    turn.target, turn.subtarget = rig, handle.name
    if handle.parent:  # a hand goes along with its arm, a foot stays on the ground
        turn.owner_space = turn.target_space = "LOCAL"
    rig.data.bones[turned].hide_select = True
    for ring in (handle, rig.pose.bones[pole]):
        ring.custom_shape, ring.color.palette = find_ring(), "THEME01"


def find_ring() -> bpy.types.Object:
    """What all handles are drawn as, in no scene."""
    if ring := bpy.data.objects.get((RING, None)):  # a library may go
        return ring
    shape, mesh = bmesh.new(), bpy.data.meshes.new(RING)
    bmesh.ops.create_circle(shape, segments=24, radius=0.5, matrix=Matrix.Rotation(math.pi / 2, 4, "X"))
    shape.to_mesh(mesh)
    shape.free()
    return bpy.data.objects.new(RING, mesh)


def build_body(armature: bpy.types.Armature, name: str) -> bpy.types.Mesh:
    """An ellipsoid for each bone that moves the body, which it carries alone; groups in the order of the bones."""
    height, mesh = armature.bones["head"].tail_local.z, bpy.data.meshes.new(name)
    shape = bmesh.new()
    weights = shape.verts.layers.deform.verify()
    for group, bone in enumerate(bone for bone in armature.bones if bone.use_deform):
        width, depth = (height * radius for radius in RADII[bone.name.partition(".")[0]])
        size = Matrix.Diagonal((width, bone.length / 2 * OVERLAP, depth, 1))
        lying = Matrix.Rotation(-math.pi / 2, 4, "X")  # a sphere's poles go to the bone's ends
        at = bone.matrix_local @ Matrix.Translation((0, bone.length / 2, 0)) @ size @ lying
        for vertex in bmesh.ops.create_uvsphere(shape, u_segments=16, v_segments=10, radius=1, matrix=at)["verts"]:
            vertex[weights][group] = 1
    for face in shape.faces:
        face.smooth = True
    shape.to_mesh(mesh)
    shape.free()
    return mesh
