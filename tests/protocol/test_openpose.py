"""The JSON that other programs read poses from."""

import json
from pathlib import Path

import pytest
from beyondscene.backend.cli import main
from beyondscene.protocol import (
    KEYPOINT_NAMES,
    BodyModel,
    Character,
    Keypoint,
    RenderRequest,
    load_request,
    openpose_json,
    read_openpose,
    save_request,
)
from msgspec.structs import replace


def first(request: RenderRequest, model: BodyModel = "COCO_18") -> dict[str, list[list[float]]]:
    """The arrays of the first person, in triples."""
    (person,) = json.loads(openpose_json(request, [request.characters[0].id], model))["people"]
    return {name: [values[at : at + 3] for at in range(0, len(values), 3)] for name, values in person.items()}


@pytest.fixture
def ana(two_people: RenderRequest) -> Character:
    """With hands, a face and feet; her right knee is behind a wall, her left wrist behind the camera."""
    joints = dict(zip(KEYPOINT_NAMES, two_people.characters[0].keypoints, strict=True))
    joints["RKnee"] = replace(joints["RKnee"], state="occluded", hidden_by="prop")
    joints["LWrist"] = Keypoint(x=0, y=0, depth=-1, state="behind")
    points = tuple(Keypoint(x=number, y=2 * number, depth=3) for number in range(70))
    hidden = replace(points[1], state="occluded", hidden_by="own_body")
    face = (points[0], hidden, *points[2:])
    bare = two_people.characters[0]
    return replace(bare, keypoints=tuple(joints.values()), right_hand=points[:21], face=face, feet=points[:6])


def test_the_arrays_are_those_of_openpose_with_px_of_the_canvas(two_people: RenderRequest, ana: Character) -> None:
    request = replace(two_people, characters=(ana, two_people.characters[1]))
    told = json.loads(openpose_json(request, [one.id for one in request.characters]))
    assert (told["version"], told["canvas_width"], told["canvas_height"]) == (1.3, request.width, request.height)
    assert len(told["people"]) == 2
    person = first(request)
    assert [len(person[f"{part}_keypoints_2d"]) for part in ("pose", "face", "hand_left", "hand_right")] == [18, 70, 0, 21]
    nose = ana.keypoints[0]
    assert person["pose_keypoints_2d"][0] == pytest.approx([nose.x, nose.y, 1], abs=1e-3)
    assert person["pose_keypoints_2d"][KEYPOINT_NAMES.index("LWrist")] == [0, 0, 0]
    assert person["hand_right_keypoints_2d"][20] == [20, 40, 1]
    assert person["face_keypoints_2d"][:3] == [[0, 0, 1], [0, 0, 0], [2, 4, 1]]  # no detector finds a hidden point


def test_body_25_has_the_middle_of_the_hips_and_the_feet(two_people: RenderRequest, ana: Character) -> None:
    request = replace(two_people, characters=(ana,))
    coco, body = first(request)["pose_keypoints_2d"], first(request, "BODY_25")["pose_keypoints_2d"]
    assert len(body) == 25 and body[:8] == coco[:8] and body[9:19] == coco[8:]
    assert body[8] == pytest.approx([(coco[8][0] + coco[11][0]) / 2, (coco[8][1] + coco[11][1]) / 2, 1], abs=1e-3)
    assert body[19:] == [[number, 2 * number, 1] for number in range(6)]
    without = first(replace(request, characters=(replace(ana, feet=None),)), "BODY_25")["pose_keypoints_2d"]
    assert without[19:] == [[0, 0, 0]] * 6
    hip = KEYPOINT_NAMES.index("RHip")
    joints = (*ana.keypoints[:hip], ana.keypoints[KEYPOINT_NAMES.index("LWrist")], *ana.keypoints[hip + 1 :])
    one_hip = first(replace(request, characters=(replace(ana, keypoints=joints),)), "BODY_25")["pose_keypoints_2d"]
    assert one_hip[8] == one_hip[9] == [0, 0, 0]


@pytest.mark.parametrize(("policy", "confidence"), [("keep", 1), ("dim", 0.5), ("drop", 0), (None, 0)])
def test_hidden_joints_are_as_sure_as_they_are_bright(
    two_people: RenderRequest, ana: Character, policy: str | None, confidence: float
) -> None:
    request = replace(two_people, characters=(ana,), settings=replace(two_people.settings, hidden_joints=policy))
    assert first(request)["pose_keypoints_2d"][KEYPOINT_NAMES.index("RKnee")][2] == confidence


def test_the_command_line_writes_the_nearest_person_first(two_people: RenderRequest, tmp_path: Path) -> None:
    ana, bo = two_people.characters
    near = replace(bo, keypoints=tuple(replace(joint, depth=1.0) for joint in bo.keypoints))
    save_request(tmp_path / "request.json", replace(two_people, characters=(ana, near)), {})
    command = [
        "export",
        str(tmp_path / "request.json"),
        "-o",
        str(tmp_path / "again.json"),
        "--openpose",
        str(tmp_path / "p.json"),
    ]
    assert main([*command, "--openpose-model", "BODY_25"]) == 0
    people = json.loads((tmp_path / "p.json").read_bytes())["people"]
    assert [len(one["pose_keypoints_2d"]) for one in people] == [75, 75]
    assert people[0]["pose_keypoints_2d"][0] == pytest.approx(near.keypoints[0].x, abs=1e-3)


@pytest.mark.parametrize("model", ["COCO_18", "BODY_25"])
def test_what_is_written_is_read_again(two_people: RenderRequest, ana: Character, model: BodyModel) -> None:
    bo = two_people.characters[1]
    lower = replace(bo, keypoints=tuple(replace(joint, y=joint.y + 40) for joint in bo.keypoints))  # feet below the picture
    request = replace(two_people, characters=(ana, lower))
    again = read_openpose(openpose_json(request, [one.id for one in request.characters], model))
    assert (again.width, again.height, again.prompt) == (request.width, request.height, "")
    near, far = again.characters
    assert (near.id, near.name, near.feet) == ("person-1", "Person 1", None if model == "COCO_18" else near.feet)
    for one, other in ((near, lower), (far, ana)):
        for found, joint in zip(one.keypoints, other.keypoints, strict=True):
            hidden = joint.state != "visible"  # which no detector finds
            assert (found.state == "missing") == hidden and (
                hidden or (found.x, found.y) == pytest.approx((joint.x, joint.y), abs=1e-3)
            )
    assert {joint.state for joint in near.keypoints} == {"visible", "outside"}
    assert near.keypoints[0].depth < far.keypoints[0].depth
    assert far.right_hand and ana.right_hand and far.right_hand[20].x == ana.right_hand[20].x and far.left_hand is None
    assert far.face and far.face[1].state == "missing" and (far.feet is None) == (model == "COCO_18")


def test_shares_of_the_canvas_and_its_odd_size_are_scaled() -> None:
    body = [0.5, 0.25, 0.9] * 17 + [0, 0, 0]
    people = [{"pose_keypoints_2d": body, "hand_left_keypoints_2d": None}, {"pose_keypoints_2d": [0.0] * 54}, {}]
    content = json.dumps([{"people": people, "canvas_width": 1000, "canvas_height": 667}]).encode()
    request = read_openpose(content)
    assert (request.width, request.height) == (1000, 664)
    (person,) = request.characters
    assert (person.keypoints[0].x, person.keypoints[0].y) == (500, 166) and person.keypoints[17].state == "missing"


@pytest.mark.parametrize(
    ("poses", "sentence"),
    [
        ("[", "has no people as OpenPose writes them (Input data was truncated): name another file."),
        ({"prompt": "a park"}, "has no people as OpenPose writes them (Object missing required field `people`"),
        ([{"people": []}] * 2, "has the people of 2 pictures: put those of each into a file of its own."),
        ({"people": []}, "has no canvas_width and canvas_height: say as --canvas WxH how large"),
        ({"people": [{"pose_keypoints_2d": [1] * 51}], "canvas_width": 64, "canvas_height": 64},
         "has 51 numbers for the body of somebody, where there should be 54 or 75: x, y and confidence of each joint."),
        ({"people": [{"pose_keypoints_2d": [1e9] * 54}], "canvas_width": 64, "canvas_height": 64}, "has a number beyond 1"),
    ],
)  # fmt: skip
def test_what_are_no_poses_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], poses: object, sentence: str
) -> None:
    file = tmp_path / "poses.json"
    file.write_text(poses if isinstance(poses, str) else json.dumps(poses))
    assert main(["openpose", str(file), "-o", str(tmp_path / "request.json")]) == 2
    assert f"{file} {sentence}" in capsys.readouterr().err and not (tmp_path / "request.json").exists()


def test_the_command_makes_a_request_that_can_be_rendered(
    two_people: RenderRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses, made = tmp_path / "poses.json", tmp_path / "made" / "request.json"
    poses.write_bytes(openpose_json(two_people, [one.id for one in two_people.characters]))
    command = ["openpose", str(poses), "-o", str(made), "--person", "a person with a red shirt"]
    assert main(command) == 0
    assert "once it has prompts of the scene, Person 2: write them into it." in capsys.readouterr().err
    assert main([*command, "--person", "a man", "--prompt", "a park"]) == 0 and main(["check", str(made)]) == 0
    assert "write them" not in capsys.readouterr().err
    request, _ = load_request(made)
    assert [one.prompt for one in request.characters] == ["a person with a red shirt", "a man"]
    assert main([*command, *["--person", "a man"] * 2]) == 2
    assert "has 2 people, and --person is there 3 times: leave some out." in capsys.readouterr().err
    poses.write_text('{"people": [], "canvas_width": 90000, "canvas_height": 64}')
    assert main(["openpose", str(poses), "-o", str(tmp_path / "wide.json")]) == 2
    assert "its longer side may be at most 16 times the shorter" in capsys.readouterr().err
