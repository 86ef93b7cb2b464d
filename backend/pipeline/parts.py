"""Where the parts of a body are: as the segmenter says, else by the joint that is nearest.

Every part that has a prompt gets a mask, so that no prompt is lost because a segmenter does not know the part's name, or finds
nothing of it.
"""

import numpy as np

from ...protocol import KEYPOINT_NAMES

REGIONS = {
    "head": ("Nose", "REye", "LEye", "REar", "LEar"),
    "upper_body": ("Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist"),
    "lower_body": ("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle"),
    "hands": ("RWrist", "LWrist"),
    "feet": ("RAnkle", "LAnkle"),
    "face": ("Nose", "REye", "LEye"),
}
# what lies beyond a limb's last joint, seen from the joint before it
BEFORE = {"RWrist": "RElbow", "LWrist": "LElbow", "RAnkle": "RKnee", "LAnkle": "LKnee"}
HEAD = ("head", "hair")  # a head has its hair on (paper, section 3.2), whatever a segmenter calls a head
# whose outlines, where the segmenter knows them, tell where another part is
TELLING = {"hair": ("head", "face"), "head": HEAD, "upper_body": HEAD, "lower_body": HEAD}
FACE_RADIUS = 0.45  # of the way from the nose to the neck


def what_tells(parts: list[str]) -> set[str]:
    """The masks that `find_part` takes for these parts, where the segmenter knows them."""
    return {name for part in parts for name in (part, *TELLING.get(part, ()))}


def with_hair(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`masks` of parts, with the hair on the head."""
    known = [masks[name] for name in HEAD if name in masks]
    return masks | ({"head": np.logical_or.reduce(known)} if known else {})


def find_part(part: str, masks: dict[str, np.ndarray], person: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """bool (H, W), within `person`.

    masks: bool (H, W) by name, what the segmenter found of `what_tells`, with the hair on the head. person: bool (H, W).
    joints: (N, 3), N as in Person, in its pixels.
    """
    if part in masks and (masks[part] & person).any():
        return masks[part] & person
    if part == "hair":  # not known from joints: the head without its face
        return find_part("head", masks, person, joints) & ~find_part("face", masks, person, joints)
    mask = near_joints(part, person, joints)
    # the outline of a head that was found is truer than the distance to joints
    if part in ("upper_body", "lower_body") and "head" in masks:
        return mask & ~masks["head"]
    return mask


def near_joints(part: str, person: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Those pixels of `person` whose nearest drawn joint belongs to `part`."""
    joints = joints[: len(KEYPOINT_NAMES)]  # those of the body, whatever follows
    rows, columns = np.nonzero(person)
    drawn = np.flatnonzero(joints[:, 2] > 0)
    points = np.stack([columns + 0.5, rows + 0.5], 1)  # joints count from pixel corners
    nearest = np.zeros(len(points), int)
    distance = np.full(len(points), np.inf)
    for joint in drawn:
        apart = np.hypot(*(points - joints[joint, :2]).T)
        nearest = np.where(apart < distance, joint, nearest)
        distance = np.minimum(apart, distance)
    inside = np.zeros(len(points), bool)
    for name in REGIONS[part]:
        joint = KEYPOINT_NAMES.index(name)
        here = nearest == joint
        if part in ("hands", "feet"):
            before = KEYPOINT_NAMES.index(BEFORE[name])
            along = joints[joint, :2] - joints[before, :2] if joints[before, 2] > 0 else np.zeros(2)
            here &= (points - joints[joint, :2]) @ along >= 0
        inside |= here
    if part == "face":
        nose, neck = (joints[KEYPOINT_NAMES.index(name)] for name in ("Nose", "Neck"))
        if nose[2] > 0 and neck[2] > 0:
            reach = FACE_RADIUS * np.hypot(*(nose - neck)[:2])
            inside &= np.hypot(*(points - nose[:2]).T) <= max(reach, 1)
    mask = np.zeros_like(person)
    mask[rows, columns] = inside
    return mask
