"""Frames decode to what was encoded, and nothing but WireError comes of bytes that are no message."""

import json
import random
import re
import runpy
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from beyondscene.protocol import (
    FEET_NAMES,
    KEYPOINT_NAMES,
    STAGES,
    Cancel,
    Decoder,
    Event,
    Finished,
    Order,
    PartName,
    Progressed,
    RenderRequest,
    Report,
    Request,
    Stage,
    Submit,
    WireError,
    arrays_from_frames,
    check_request,
    describe_array,
    digest_of,
    digest_of_file,
    encode,
    request_from_json,
    request_to_json,
)
from msgspec.structs import replace

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
GOLDEN = Path(__file__).parent.parent / "golden"


def test_round_trip_with_arrays(two_people: RenderRequest) -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6)
    submit = Submit(job_id=JOB, request=two_people, arrays=(describe_array(mask),))
    message, payload = Decoder(Request)(encode(submit, [mask.tobytes()]))
    assert message == submit
    arrays = arrays_from_frames(message.arrays, payload)
    assert (arrays[submit.arrays[0].digest] == mask).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    mask = np.zeros((4, 6), np.uint8)
    reference = describe_array(mask)
    for frames in ([], [b"short"], [bytes([1]) * 24]):
        with pytest.raises(WireError):
            arrays_from_frames([reference], frames)
    huge = replace(reference, shape=(65536,) * 4, digest=digest_of(b""))  # 2^64 bytes, none where numbers have 64 bits
    with pytest.raises(WireError, match="an array of 18446744073709551616 bytes is announced, 0 came"):
        arrays_from_frames([huge], [b""])
    with pytest.raises(WireError, match="float64"):
        describe_array(np.zeros(3))


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(3_000_000)
    (tmp_path / "file").write_bytes(data)
    assert digest_of_file(tmp_path / "file") == digest_of(data)


def test_mutated_messages_raise_nothing_but_wire_errors(two_people: RenderRequest) -> None:
    frames = [bytes(frame) for frame in encode(Submit(job_id=JOB, request=two_people))]
    dice, refused, decode = random.Random(0), 0, Decoder(Request)
    for _ in range(3000):
        header = bytearray(frames[1])
        for _ in range(dice.randint(1, 6)):
            header[dice.randrange(len(header))] = dice.randrange(256)
        try:
            decode([frames[0], bytes(header[: dice.randint(1, len(header))])])
        except WireError:
            refused += 1
    assert refused > 2900
    for junk in ([], [b""], [b"BSZ\x01"], [b"BSZ\x02", frames[1]], [b"GET / HTTP/1.1", b""]):
        with pytest.raises(WireError):
            decode(junk)
    with pytest.raises(WireError, match="the header has 4194305 bytes, the limit is 4194304"):
        decode([frames[0], bytes(2**22 + 1)])


def test_a_word_of_one_side_is_no_word_of_the_other() -> None:
    with pytest.raises(WireError):
        Decoder(Event)(encode(Cancel(job_id=JOB)))
    with pytest.raises(WireError):
        Decoder(Request)(encode(Progressed(job_id=JOB, seq=1, stage="tone", fraction=0.5)))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.msgpack")), ids=lambda path: path.stem)
def test_messages_of_released_versions_still_decode(path: Path) -> None:
    """Each golden file is one header as some version wrote it; tools/export_protocol.py wrote them."""
    unions = {"request": Request, "event": Event, "order": Order, "report": Report}
    kind, _, name = path.stem.split("-")[1:]
    message, _ = Decoder(unions[kind])([b"BSZ\x01", path.read_bytes()])
    assert type(message).__name__.lower() == name


def test_golden_finished_keeps_its_meaning() -> None:
    message, _ = Decoder(Event)([b"BSZ\x01", (GOLDEN / "v1-event-0-finished.msgpack").read_bytes()])
    assert isinstance(message, Finished)
    assert (message.width, message.height, message.media_type) == (1536, 1024, "image/png")


def test_golden_welcomes_say_how_many_jobs_may_wait() -> None:
    read = Decoder(Event)
    welcomes = [read([b"BSZ\x01", (GOLDEN / f"v1-event-{n}-welcome.msgpack").read_bytes()])[0] for n in (1, 20)]
    assert [one.waiting_jobs for one in welcomes] == [100, 250]  # the first is of a version that did not say


def test_golden_refusals_say_whether_they_hold_only_for_now() -> None:
    read = Decoder(Event)
    refusals = [read([b"BSZ\x01", (GOLDEN / f"v1-event-{n}-refused.msgpack").read_bytes()])[0] for n in (3, 21)]
    assert [one.later for one in refusals] == [False, True]  # the first is of a version that did not say


def test_golden_submit_keeps_its_meaning() -> None:
    message, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-1-submit.msgpack").read_bytes()])
    assert isinstance(message, Submit)
    ana = message.request.characters[0]
    assert (message.request.seed, message.models, ana.part_prompts, ana.keypoints[17].state) == (
        7,
        "sdxl",
        {"head": "freckles"},
        "missing",
    )
    assert (message.request.settings.t_b, message.request.settings.beta_over) == (0.7, 0.2)


def test_hands_are_kept_and_a_request_of_before_has_none() -> None:
    """They came within version 1: an older side leaves out what it does not know."""
    before, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-1-submit.msgpack").read_bytes()])
    assert before.request.characters[0].right_hand is before.request.characters[0].left_hand is None
    message, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-8-submit.msgpack").read_bytes()])
    hand = message.request.characters[0].left_hand
    assert (len(hand), hand[0].x, hand[20].state) == (21, 249.5, "missing")


def test_a_face_is_kept_and_a_request_of_before_has_none() -> None:
    before, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-9-submit.msgpack").read_bytes()])
    assert before.request.characters[0].face is None
    message, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-10-submit.msgpack").read_bytes()])
    face = message.request.characters[0].face
    assert (len(face), face[0].x, face[69].state) == (70, 249.5, "missing")


def test_feet_and_what_becomes_of_hidden_joints_are_kept_and_a_request_of_before_has_neither() -> None:
    before, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-10-submit.msgpack").read_bytes()])
    assert before.request.characters[0].feet is None and before.request.settings.hidden_joints is None
    message, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-11-submit.msgpack").read_bytes()])
    feet = message.request.characters[0].feet
    assert (len(feet), feet[0].x, feet[5].state, message.request.settings.hidden_joints) == (6, 249.5, "missing", "drop")


def test_a_backend_of_before_says_nothing_about_skeletons() -> None:
    before, _ = Decoder(Event)([b"BSZ\x01", (GOLDEN / "v1-event-1-welcome.msgpack").read_bytes()])
    assert (before.models[0].pose_line_width_px, before.models[0].pose_hands) == (0, False)
    now, _ = Decoder(Event)([b"BSZ\x01", (GOLDEN / "v1-event-19-welcome.msgpack").read_bytes()])
    assert (now.models[0].pose_line_width_px, now.models[0].pose_feet) == (24, True)


def test_loras_are_kept_and_a_request_of_before_has_none() -> None:
    before, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-1-submit.msgpack").read_bytes()])
    assert before.request.loras == before.request.characters[0].loras == ()
    message, _ = Decoder(Request)([b"BSZ\x01", (GOLDEN / "v1-request-9-submit.msgpack").read_bytes()])
    (style,), (own,) = message.request.loras, message.request.characters[0].loras
    assert (style.name, style.scale, own.name, own.scale) == ("watercolour", 0.8, "Ana v2", 1.0)


def test_every_message_has_a_golden_file() -> None:
    words = {one.__name__.lower() for union in (Request, Event, Order, Report) for one in union.__args__}
    assert {path.stem.split("-")[3] for path in GOLDEN.glob("v1-*.msgpack")} == words


def test_published_schema_is_the_current_one() -> None:
    exporter = runpy.run_path(str(GOLDEN.parent.parent / "tools" / "export_protocol.py"))
    assert exporter["SCHEMA"].read_bytes() == exporter["request_schema"](), "run tools/export_protocol.py"


def test_whoever_waits_is_told_of_every_stage_in_words() -> None:
    assert set(STAGES) == set(get_args(Stage))


def test_the_schema_refuses_what_the_program_does(two_people: RenderRequest) -> None:
    structs = json.loads((GOLDEN.parent.parent / "docs" / "request.schema.json").read_bytes())["$defs"]
    assert all(struct["additionalProperties"] is False for struct in structs.values())
    request, character = structs["RenderRequest"]["properties"], structs["Character"]["properties"]
    assert (request["width"]["minimum"], request["height"]["multipleOf"], request["prompt"]["minLength"]) == (64, 8, 1)
    assert set(character["part_prompts"]["properties"]) == set(get_args(PartName))
    assert character["keypoints"]["description"] == ", ".join(KEYPOINT_NAMES)
    assert character["feet"]["anyOf"][0]["description"] == ", ".join(FEET_NAMES)


def test_the_request_by_hand_in_the_examples_can_be_rendered() -> None:
    text = (GOLDEN.parent.parent / "examples" / "README.md").read_text()
    (example,) = re.findall(r"```json\n(.+?)```", text, re.DOTALL)
    request = request_from_json(example.encode())  # whose $schema is for editors
    check_request(request)
    assert all(f"| {place} {name} |" in text for place, name in enumerate(KEYPOINT_NAMES, 1))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"settings": {"scheduler": "lcm"}}, r"'lcm' is no scheduler: choose ddim, dpmsolver\+\+ or euler, at `\$\.settings"),
        ({"characters": [{"part_prompts": {"nose": "red"}}]}, "'nose' is no part_prompts: choose head, hair, face, upper_body"),
        ({"loras": [{"name": "/etc/x"}]}, "that is the name of a file in letters, digits, spaces, `_`, `.` and `-`, without"),
    ],
)
def test_what_msgspec_refuses_is_told_with_the_choices_there_are(written: dict[str, object], words: str) -> None:
    with pytest.raises(WireError, match=words):
        request_from_json(json.dumps({"width": 64, "height": 64, "prompt": "a plaza", **written}).encode())


def test_a_request_may_have_a_byte_order_mark_and_is_otherwise_utf_8_with_each_field_once(two_people: RenderRequest) -> None:
    data = request_to_json(two_people)
    assert request_from_json(data.decode().encode("utf-8-sig")) == two_people
    for encoding in ("utf-16", "latin-1"):
        with pytest.raises(WireError, match="it is not in UTF-8, so save it in that encoding"):
            request_from_json(data.decode().replace("plaza", "pläza").encode(encoding))
    with pytest.raises(WireError, match="an object has the field `seed` twice"):
        request_from_json(data.replace(b'"seed": 7', b'"seed": 7, "seed": 8'))
    with pytest.raises(WireError, match="unknown field `sead`"):
        request_from_json(data.replace(b'"seed": 7', b'"sead": ' + b"7" * 5000))
