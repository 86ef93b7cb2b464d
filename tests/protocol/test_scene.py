"""Requests refuse what cannot be, survive their file, and scale."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from beyondscene.protocol import (
    Backdrop,
    Camera,
    Decoder,
    Event,
    Keypoint,
    Lora,
    Order,
    RenderRequest,
    RenderSettings,
    Report,
    Request,
    RequestError,
    Submit,
    WireError,
    check_request,
    describe_array,
    encode,
    load_request,
    request_from_json,
    request_to_json,
    resized,
    save_request,
)
from msgspec.structs import replace


def broken(request: RenderRequest, **changes: object) -> bytes:
    """JSON of the request with values put in by path, "characters.0.keypoints.3.x"."""
    document = json.loads(request_to_json(request))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for name in parents:
            place = place[int(name)] if name.isdigit() else place[name]
        place[last] = value
    return json.dumps(document).encode()


def test_json_round_trip(two_people: RenderRequest) -> None:
    assert request_from_json(request_to_json(two_people)) == two_people
    ana, bo = two_people.characters
    styled = replace(
        two_people, loras=(Lora(name="clay", scale=0.5),), characters=(replace(ana, loras=(Lora(name="ana"),)), bo)
    )
    assert request_from_json(request_to_json(styled)) == styled


@pytest.mark.parametrize("value", ["5", None, 1e9, -1e9])
def test_impossible_coordinates_are_refused_by_the_schema(two_people: RenderRequest, value: object) -> None:
    with pytest.raises(WireError, match="keypoints"):
        request_from_json(broken(two_people, characters__0__keypoints=[{"x": value, "y": 1, "depth": 1}] * 18))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_on_the_wire_and_in_files(two_people: RenderRequest, value: float) -> None:
    ana = replace(two_people.characters[0], keypoints=(Keypoint(x=value, y=1, depth=1),) * 18)
    submit = Submit(job_id="01890a5d-ac96-774b-bcce-b302099a8057", request=replace(two_people, characters=(ana,)))
    with pytest.raises(WireError, match="keypoints"):
        Decoder(Request)(encode(submit))
    with pytest.raises(WireError, match="malformed"):
        request_from_json(broken(two_people, characters__0__keypoints=[{"x": value, "y": 1, "depth": 1}] * 18))


def test_unknown_setting_is_a_typing_slip_not_a_silence(two_people: RenderRequest) -> None:
    with pytest.raises(WireError, match=r"unknown field `stepz` at `\$\.settings`"):
        request_from_json(broken(two_people, settings__stepz=30))


def test_a_body_has_eighteen_joints(two_people: RenderRequest) -> None:
    joint = {"x": 1, "y": 1, "depth": 1}
    with pytest.raises(WireError, match="18"):
        request_from_json(broken(two_people, characters__0__keypoints=[joint] * 17))


def test_no_struct_on_the_wire_has_a_bare_float() -> None:
    schema = json.dumps(msgspec.json.schema_components([Request, Event, Order, Report])[1])
    numbers = [part for part in schema.split("{") if '"type": "number"' in part]
    assert numbers
    assert all("imum" in part for part in numbers), [part for part in numbers if "imum" not in part]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 190}, "width is 190 px.*multiple of 8: use 184 or 192"),
        ({"height": 56}, "at least 64"),
        ({"width": 4096, "height": 128}, "4096x128 px, but its longer side may be at most 16 times the shorter: use 2048 px"),
        ({"prompt": "  "}, "scene prompt is empty"),
        ({"settings": RenderSettings(canny_low=300)}, "canny_low is 300, above canny_high 200.0: swap them"),
    ],
)
def test_broken_rules_are_told_in_a_sentence(two_people: RenderRequest, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        check_request(replace(two_people, **changes))


def test_what_no_decoder_takes_is_told_in_a_sentence_before_it_is_sent(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters
    for changes, sentence in (
        ({"prompt": "x" * 10_001}, r"The prompt of the scene cannot be sent \(expected `str` of length <= 10000\): change"),
        ({"characters": (ana,) * 257}, r"The characters of the scene cannot be sent \(expected `array` of length <= 256\)"),
        ({"characters": (ana, replace(bo, part_prompts={"hair": "x" * 10_001}))}, r"The part_prompts.* of 'Bo' cannot be sent"),
        ({"seed": -1}, "The seed of the scene cannot be sent"),
        (
            {"settings": replace(RenderSettings(), perturb="none")},
            "The settings.perturb of the scene cannot be sent .'none' is no perturb: ",
        ),
    ):
        with pytest.raises(RequestError, match=sentence):
            check_request(replace(two_people, **changes))


def test_empty_prompt_and_absent_people_are_named(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters
    with pytest.raises(RequestError, match="prompt of 'Ana' is empty"):
        check_request(replace(two_people, characters=(replace(ana, prompt=""), bo)))
    away = tuple(replace(k, y=k.y + 120) for k in bo.keypoints)  # below it, though within its width
    with pytest.raises(RequestError, match="'Bo' stands wholly outside the 192x128 frame"):
        check_request(replace(two_people, characters=(ana, replace(bo, keypoints=away))))
    behind = tuple(replace(k, state="behind") for k in bo.keypoints)
    with pytest.raises(RequestError, match="'Bo' has no joint in front of the camera"):
        check_request(replace(two_people, characters=(ana, replace(bo, keypoints=behind))))
    point = tuple(replace(k, x=90 + k.x / 100, y=60 + k.y / 100) for k in bo.keypoints)
    with pytest.raises(RequestError, match="'Bo' spans 1 px, but a person can be drawn from 8 px on"):
        check_request(replace(two_people, characters=(ana, replace(bo, keypoints=point))))
    with pytest.raises(RequestError, match="Two characters have the id 'ana'"):
        check_request(replace(two_people, characters=(ana, replace(bo, id="ana"))))


def test_a_joint_that_is_drawn_is_before_the_camera(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters

    def with_wrist(**changes: object) -> RenderRequest:
        joints = tuple(replace(joint, **changes) if place == 4 else joint for place, joint in enumerate(bo.keypoints))
        return replace(two_people, characters=(ana, replace(bo, keypoints=joints)))

    check_request(with_wrist(depth=0.0))  # as of a pose from a photograph, whose depth nobody knows
    check_request(with_wrist(depth=-2.5, state="behind"))
    with pytest.raises(RequestError, match=r"The joint RWrist of 'Bo' is occluded at a depth of -2\.5 m, but depths"):
        check_request(with_wrist(depth=-2.5, state="occluded"))
    behind = Keypoint(x=9, y=9, depth=-1)
    for part, points, name in (
        ("left_hand", 21, "Wrist of the left hand"),
        ("face", 70, "RJaw1 of the face"),
        ("feet", 6, "LBigToe of the feet"),
    ):
        with pytest.raises(RequestError, match=f"The joint {name} of 'Bo' is visible at a depth of -1 m, but depths"):
            check_request(replace(two_people, characters=(ana, replace(bo, **{part: (behind,) * points}))))


def test_no_text_has_a_control_character_but_tabs_and_ends_of_lines(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters
    for changes, whose in (
        ({"prompt": "a\0b"}, "The scene's prompt"),
        ({"negative_prompt": "a\0b"}, "The scene's negative prompt"),
        ({"style": "a\0b"}, "The style"),
        ({"characters": (replace(ana, prompt="a\0b"), replace(bo, name="Ana"))}, "The prompt of 'Ana'"),
        ({"characters": (ana, replace(bo, negative_prompt="a\0b"))}, "The negative prompt of 'Bo'"),
        ({"characters": (ana, replace(bo, part_prompts={"hair": "a\0b"}))}, "The prompt for the hair of 'Bo'"),
        ({"characters": (ana, replace(bo, id="a\0b"))}, "The id of 'Bo'"),
        ({"characters": (ana, replace(bo, name="a\0b"))}, "The name of 'a\0b'"),
    ):
        with pytest.raises(RequestError, match=f"^{whose} has the control character U\\+0000 in place 2, "):
            check_request(replace(two_people, **changes))
    for sign in "\x1b\x7f\x9b":  # what a terminal takes for commands
        with pytest.raises(RequestError, match=f"control character U\\+{ord(sign):04X} in place 3, "):
            check_request(replace(two_people, prompt=f"a {sign}[2J"))
    check_request(replace(two_people, prompt="a\tplaza,\r\nin rain"))


def test_resizing_moves_the_joints_along(two_people: RenderRequest) -> None:
    larger = resized(two_people, 384, 256)
    assert larger.characters[0].keypoints[4].x == 2 * two_people.characters[0].keypoints[4].x
    check_request(larger)
    camera = Camera(fx=100, fy=90, cx=96, cy=64, camera_from_world=(1.0,) * 16)
    wider = resized(replace(two_people, camera=camera), 384, 128).camera
    assert wider == replace(camera, fx=200, cx=192)
    person = two_people.characters[1]
    hand_before_the_camera = replace(person.keypoints[4], x=-1e6, state="outside")
    close_up = replace(person, keypoints=(*person.keypoints[:4], hand_before_the_camera, *person.keypoints[5:]))
    check_request(resized(replace(two_people, characters=(close_up,)), 384, 256))


def test_hands_and_feet_survive_their_file_and_a_resizing(two_people: RenderRequest) -> None:
    hand = tuple(Keypoint(x=number, y=2 * number, depth=3) for number in range(21))
    request = replace(two_people, characters=(replace(two_people.characters[0], right_hand=hand, feet=hand[:6]),))
    assert request_from_json(request_to_json(request)) == request
    larger = resized(request, 384, 256).characters[0]
    for points in (larger.right_hand, larger.feet):
        assert points and (points[5].x, points[5].y) == (10, 20)
    assert larger.left_hand is None
    with pytest.raises(WireError, match="21"):
        request_from_json(broken(request, characters__0__right_hand=[{"x": 1, "y": 1, "depth": 1}] * 20))


def test_a_face_survives_its_file_and_a_resizing(two_people: RenderRequest) -> None:
    face = tuple(Keypoint(x=number, y=2 * number, depth=3) for number in range(70))
    request = replace(two_people, characters=(replace(two_people.characters[0], face=face),))
    assert request_from_json(request_to_json(request)) == request
    larger = resized(request, 384, 256).characters[0]
    assert larger.face and (larger.face[69].x, larger.face[69].y) == (138, 276)
    with pytest.raises(WireError, match="70"):
        request_from_json(broken(request, characters__0__face=[{"x": 1, "y": 1, "depth": 1}] * 68))


def test_a_file_that_holds_no_request_of_this_version_is_named(tmp_path: Path, two_people: RenderRequest) -> None:
    path = tmp_path / "r.json"
    for content, words in (
        (
            broken(two_people)[:100],
            r"r\.json is not a render request: Input data was truncated\. docs/request\.schema\.json has",
        ),
        (b"", r"r\.json is not a render request: "),
        (broken(two_people, format=2, new=1), r"r\.json is a render request of format 2, from a newer version .* update it"),
        (broken(two_people, format=0), r"r\.json is not a render request: 0 is no format: choose 1, at"),
    ):
        path.write_bytes(content)
        with pytest.raises(WireError, match=words):
            load_request(path)
    with pytest.raises(WireError, match=r"There is no file .*none\.json: name an existing"):
        load_request(tmp_path / "none.json")
    with pytest.raises(WireError, match=r"cannot be read \(Is a directory\): name a \.blend or request\.json"):
        load_request(tmp_path)


def test_masks_travel_beside_the_file(tmp_path: Path, two_people: RenderRequest) -> None:
    mask = np.zeros((128, 192), np.uint8)
    mask[10:20] = 255
    reference = describe_array(mask)
    ana, bo = two_people.characters
    request = replace(two_people, characters=(replace(ana, mask=reference), bo))
    save_request(tmp_path / "request.json", request, {reference.digest: mask})
    loaded, arrays = load_request(tmp_path / "request.json")
    folder = tmp_path / "request.json.arrays"
    for name in (f"{'0' * 64}.npy", "mine.npy", "depth.npy"):
        (folder / name).touch()
    save_request(tmp_path / "request.json", request, {reference.digest: mask})  # masks of an earlier request go, and no other
    assert {path.name for path in folder.iterdir()} == {f"{reference.digest}.npy", "mine.npy", "depth.npy"}
    save_request(tmp_path / "other.json", request, {reference.digest: mask})
    save_request(tmp_path / "other.json", two_people, {})
    assert not (tmp_path / "other.json.arrays").exists()
    moved = (tmp_path / "request.json").rename(tmp_path / "moved.json")
    with pytest.raises(WireError, match=r"mask of 'Ana' is not in .*moved\.json\.arrays.*so copy that folder along"):
        load_request(moved)
    (tmp_path / "request.json.arrays").rename(tmp_path / "moved.json.arrays")
    assert load_request(moved)[0] == loaded
    assert loaded == request and (arrays[reference.digest] == mask).all()
    with pytest.raises(RequestError, match="mask of 'Ana' has shape"):
        check_request(replace(request, width=384))
    check_request(replace(request, width=8 * 192, height=8 * 128))  # a coarser mask of the same picture
    check_request(resized(request, 400, 264))  # and at a size that was rounded to whole latents
    assert resized(request, 400, 264).characters[0].mask == reference
    backdrop = Backdrop(image=replace(reference, shape=(64, 96, 3)))
    check_request(replace(request, backdrop=backdrop))
    for shape in ((128, 192), (64, 96, 4), (64, 64, 3), (3,)):
        with pytest.raises(RequestError, match=r"The backdrop has shape .* the picture needs \(128, 192, 3\) of uint8"):
            check_request(replace(request, backdrop=Backdrop(image=replace(reference, shape=shape))))
    wide = replace(reference, shape=(8192, 12288, 3))
    with pytest.raises(RequestError, match="The backdrop has 301989888 bytes, more than the limit of 67108864"):
        check_request(replace(request, backdrop=Backdrop(image=wide)))
    floats = replace(reference, dtype="float32")
    with pytest.raises(RequestError, match=r"of float32, but the picture needs \(128, 192\) of uint8"):
        check_request(replace(request, characters=(replace(ana, mask=floats), bo)))


def test_a_mask_file_that_is_damaged_or_of_another_making_is_named(tmp_path: Path, two_people: RenderRequest) -> None:
    mask = np.full((128, 192), 255, np.uint8)
    reference = describe_array(mask)
    ana, bo = two_people.characters
    request = replace(two_people, characters=(replace(ana, mask=reference), bo))
    save_request(tmp_path / "request.json", request, {reference.digest: mask})
    file = tmp_path / "request.json.arrays" / f"{reference.digest}.npy"
    good = file.read_bytes()
    for broken in (good.replace(b"(128, 192)", b"(128, 192("), good[:100], b""):
        file.write_bytes(broken)
        with pytest.raises(WireError, match=rf"The mask of .Ana. cannot be read from {file} \(.*\): export again"):
            load_request(tmp_path / "request.json")
    for other in (np.zeros((0, 0), np.uint8), np.zeros((4, 4), "datetime64[s]"), mask > 0):
        np.save(file, other)
        with pytest.raises(WireError, match=rf"The mask of .Ana. cannot be read from {file} \(.*\): export again"):
            load_request(tmp_path / "request.json")
    np.save(file, mask // 2)
    with pytest.raises(WireError, match=rf"The mask of .Ana. is not what the request names, in {file}: export again"):
        load_request(tmp_path / "request.json")
