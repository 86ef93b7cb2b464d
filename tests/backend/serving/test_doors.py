"""Who gets in, what is understood, and what is refused."""

import contextlib
import json
import random
import uuid
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
import zmq
from beyondscene.backend.gateway import ServeError, ServeSettings, serve
from beyondscene.backend.gateway.sockets import Door, KeyPair, endpoint_of
from beyondscene.protocol import (
    Cancel,
    Fetch,
    Finished,
    Hello,
    Lora,
    Ping,
    Pong,
    Refused,
    Rejected,
    RenderRequest,
    RenderSettings,
    Submit,
    Subscribe,
    Welcome,
    describe_array,
    digest_of,
    encode,
)
from beyondscene.protocol.client import UPLOAD_BYTES_S
from beyondscene.protocol.codec import HEADER_LIMIT_BYTES, MAGIC
from msgspec.structs import replace

from .conftest import Connect, Start
from .talk import Talk, masked_person, picture


def test_welcome(start: Start, connect: Connect) -> None:
    gateway = start()
    one, two = connect(gateway, greet=False).greet(), connect(gateway, greet=False).greet()
    assert [(models.name, models.missing) for models in one.models] == [("embedded", ()), ("half", ("controlnet",))]
    assert one.boot_id == two.boot_id
    assert gateway.ready_file.stat().st_mode & 0o777 == 0o600


def test_loras_are_told_and_one_that_is_not_there_is_refused(
    start: Start, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    folder = tmp_path / "user" / "beyondscene" / "loras"
    folder.mkdir(parents=True)
    for name in ("claymation", "-rf"):  # the second is no name that a request could give
        (folder / f"{name}.safetensors").touch()
    gateway = start()
    assert connect(gateway, greet=False).greet().models[0].loras == ("claymation",)
    talk = connect(gateway)
    request = replace(picture(side_px=128), loras=(Lora(name="ink"),))
    talk.say(Submit(job_id=str(uuid.uuid4()), request=request))
    assert "On the backend's machine: There is no LoRA 'ink': known are claymation" in talk.hear_until(Refused).message


def test_few_steps_are_told_and_refused_where_a_set_has_none_as_hcp_layers_are(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    for name in ("few", "lost"):
        manifest = {"name": name, "training_resolution_px": 64, "pose_line_width_px": 2, "roles": {}}
        (tmp_path / name / "modelset.json").parent.mkdir()
        few_steps = {"place": ".", "file": "four.safetensors", "steps": 4}
        (tmp_path / name / "modelset.json").write_text(json.dumps(manifest | {"few_steps": few_steps}))
    (tmp_path / "few" / "four.safetensors").touch()
    folders = [str(tmp_path / name) for name in ("few", "lost")]
    told = {one.name: one.few_steps for one in connect(start(model_folders=folders), greet=False).greet().models}
    assert (told["few"], told["lost"]) == (4, 0)
    talk = connect(start())
    request = replace(picture(side_px=128), settings=RenderSettings(few_steps=True))
    talk.say(Submit(job_id=str(uuid.uuid4()), request=request))
    assert "'embedded' names no LoRA for few steps" in talk.hear_until(Refused).message
    request = replace(picture(side_px=128), settings=RenderSettings(hcp_scale=0.5))
    talk.say(Submit(job_id=str(uuid.uuid4()), request=request))
    assert "hcp_scale is 0.5, but the model set 'embedded' has no HcP layers" in talk.hear_until(Refused).message


def test_a_model_set_that_cannot_be_read_hides_no_other(start: Start, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "mine" / "b" / "unet").mkdir(parents=True)
    manifest = {"name": "mine", "training_resolution_px": 64, "pose_line_width_px": 2, "roles": {"base": "b"}}
    (tmp_path / "mine" / "modelset.json").write_text(json.dumps(manifest))
    index = tmp_path / "mine" / "b" / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "x-00001')  # a copy that broke off
    gateway = start(model_folders=[str(tmp_path / "mine")])
    talk = connect(gateway, greet=False)
    told = {one.name: one.missing for one in talk.greet().models}
    assert not told["embedded"] and "base" in told["mine"]
    talk.submit(picture(side_px=128), models="mine")
    assert f"{index}, cannot be read" in talk.hear_until(Refused).message
    (tmp_path / "mine" / "modelset.json").unlink()  # later, which ends nothing either
    assert {one.name for one in talk.greet().models} == set(told)


@pytest.mark.parametrize(("versions", "to_update"), [((2, 3), "the backend"), ((0, 0), "the add-on or program")])
def test_versions_that_do_not_meet(start: Start, connect: Connect, versions: tuple[int, int], to_update: str) -> None:
    talk = connect(start(), greet=False)
    talk.say(Hello(versions=versions, client="blender 4.3.2"))
    spoken = " to ".join(str(version) for version in sorted({*versions}))
    sentence = f"'blender 4.3.2' speaks protocol {spoken}, the backend 1: update {to_update}."
    assert talk.hear_until(Rejected).message == sentence
    talk.say(Ping())
    assert "Hello first" in talk.hear_until(Refused).message


def test_a_client_is_called_what_can_pass_for_no_other_line_of_the_log(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway, greet=False)
    talk.say(Hello(versions=(1, 1), client="Ann\x1b[2J\nforged"))
    talk.hear_until(Welcome)
    assert "(Ann [2J forged)" in gateway.log()


def test_only_the_listed_key_gets_in(start: Start, connect: Connect) -> None:
    gateway = start()
    strangers = [connect(gateway, greet=False, keys=zmq.curve_keypair()), connect(gateway, greet=False, curve=False)]
    for stranger in strangers:
        with contextlib.suppress(zmq.Again):  # a socket that was turned away may have nowhere to send to
            stranger.socket.send_multipart(encode(Hello(versions=(1, 1), client="stranger")), zmq.DONTWAIT)
        assert stranger.hear(0.7) is None
    connect(gateway)
    assert "stranger" not in gateway.log()


def test_a_client_with_the_key_of_another_backend_gets_no_answer(start: Start, connect: Connect) -> None:
    """Somebody has taken the place of the backend, or the file is an old one: nothing is said to whoever listens there."""
    one, other = start(), start()
    mixed = replace(other.connection(), endpoint=one.connection().endpoint)
    talk = Talk(mixed)
    with contextlib.suppress(zmq.Again):
        talk.socket.send_multipart(encode(Hello(versions=(1, 1), client="lost")), zmq.DONTWAIT)
    assert talk.hear(0.7) is None
    talk.close()
    assert "lost" not in one.log() and "lost" not in other.log()


def test_where_nobody_answers_the_door_it_stays_shut() -> None:
    """Should the handler ever be gone, even a listed key is kept out: ZAP_ENFORCE_DOMAIN."""
    server, own = KeyPair.new(), KeyPair.new()
    with zmq.Context() as context:
        door = Door(context)
        socket = door.bind("tcp://127.0.0.1:0", "clients", server, {own.public}, 1000)
        door.close()
        with zmq.Context() as elsewhere, elsewhere.socket(zmq.DEALER) as client:
            client.linger = 0
            client.curve_serverkey, client.curve_publickey, client.curve_secretkey = server.public, own.public, own.secret
            client.connect(endpoint_of(socket))
            client.send(b"anything")
            assert not socket.poll(700)
        socket.close()


def test_the_largest_frame_has_the_time_that_a_slow_line_takes_for_it() -> None:
    """Until it is whole, nothing that its sender says is heard."""
    with zmq.Context() as context:
        door = Door(context)
        socket = door.bind("tcp://127.0.0.1:0", "clients", KeyPair.new(), set(), 64 * 2**20)
        assert int(socket.getsockopt(zmq.HEARTBEAT_TIMEOUT)) / 1000 > 64 * 2**20 / UPLOAD_BYTES_S
        socket.close()
        door.close()


def test_the_longest_request_is_understood_by_the_worker_too(start: Start, connect: Connect) -> None:
    """What the worker is told is longer than what the client said: it has folders, too."""
    person = replace(masked_person(describe_array(np.zeros((8, 8), np.uint8))), mask=None)

    def crowd(*prompts: str) -> RenderRequest:
        people = (replace(person, id=f"{n:03}", name=f"{n:03}", prompt=words) for n, words in enumerate(prompts))
        return replace(picture(steps=1), characters=tuple(people))

    def left_bytes(request: RenderRequest) -> int:
        return HEADER_LIMIT_BYTES - len(encode(Submit(job_id=str(uuid.uuid4()), request=request))[1])

    long, some = "\U0001f600" * 10_000, "\U0001f600" * 100
    count = left_bytes(crowd(some)) // (left_bytes(crowd(some)) - left_bytes(crowd(long, some)))
    left = left_bytes(crowd(*[long] * count, some))
    longest = crowd(*[long] * count, some + "\U0001f600" * (left // 4) + "x" * (left % 4))
    assert left_bytes(longest) == 0
    talk = connect(start())
    talk.hear_until(Finished, talk.submit(longest), timeout_s=60)


def test_all_that_is_refused_at_once_is_answered(start: Start, connect: Connect) -> None:
    talk = connect(start())
    jobs = {str(uuid.uuid4()) for _ in range(300)}
    for job_id in jobs:
        talk.say(Subscribe(job_id=job_id))
    assert {talk.hear_until(Refused, timeout_s=60).job_id for _ in jobs} == jobs


def test_claims_beyond_measure_cost_nothing(start: Start, connect: Connect) -> None:
    """What is announced is refused before anything is reserved for it."""
    gateway = start()
    talk = connect(gateway)
    process = psutil.Process(gateway.process.pid)
    plain = msgspec.to_builtins(Submit(job_id=str(uuid.uuid4()), request=picture()))
    mask = {"digest": digest_of(b""), "dtype": "float32", "shape": [65536] * 4}
    person = msgspec.to_builtins(masked_person(describe_array(np.zeros((8, 8), np.uint8))))

    def claim(**changes: object) -> None:
        talk.socket.send_multipart([MAGIC, msgspec.msgpack.encode({**plain, "request": {**plain["request"], **changes}})])

    def announce(**changes: object) -> None:
        talk.socket.send_multipart([MAGIC, msgspec.msgpack.encode({**plain, **changes}), b""])

    connect(gateway).hear(0.3)
    before_bytes = process.memory_info().rss
    for _ in range(5):
        claim(width=2**31)
        claim(characters=[{**person, "id": f"{n}"} for n in range(300)])
        claim(prompt="a" * 2**20)
        claim(settings={"steps": 2**40})
        announce(arrays=[mask])
        announce(arrays=[mask] * 10_000)
        talk.socket.send_multipart([MAGIC, b"\xdd\xff\xff\xff\xff"])
    for _ in range(35):
        talk.hear_until(Refused)
    assert process.memory_info().rss - before_bytes < 16 * 2**20
    talk.socket.send_multipart([MAGIC, b"\x80", bytes(64 * 2**20 + 1)])  # a frame that is too long ends the connection alone
    other = connect(gateway)
    other.hear_until(Finished, other.submit(picture(steps=1)))
    assert process.memory_info().rss - before_bytes < 80 * 2**20


def test_bytes_that_are_no_message(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = str(uuid.uuid4())
    messages = [
        Hello(versions=(1, 1), client="fuzz"),
        Submit(job_id=job_id, request=picture()),
        Cancel(job_id=job_id),
        Subscribe(job_id=job_id),
        Fetch(job_id=job_id, offset=0),
        Ping(),
    ]
    golden = [[bytes(frame) for frame in encode(message)] for message in messages]
    random.seed(4)
    other = connect(gateway, greet=False)
    for count in range(3000):
        talk.socket.send_multipart(mutated(random.choice(golden)))
        if count % 50 == 0:  # read what came back, so that the pipe is not what is tested
            while talk.socket.poll(0):
                talk.socket.recv_multipart()
        if count == 1500:
            other.greet()  # another client is served in between
    other.say(Ping())
    other.hear_until(Pong)
    assert "failed here" not in gateway.log() and "Traceback" not in gateway.log()


def test_who_does_not_read_delays_nobody(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    finished = talk.hear_until(Finished, talk.submit(picture(side_px=1024, steps=2)))
    idlers = [connect(gateway, receive_messages=1) for _ in range(3)]
    process = psutil.Process(gateway.process.pid)
    before_bytes = process.memory_info().rss
    for _ in range(30):
        for idler in idlers:
            idler.say(Fetch(job_id=finished.job_id, offset=0))
        talk.say(Ping())
        talk.hear_until(Pong)
    assert process.memory_info().rss - before_bytes < len(idlers) * 16 * 1024 * 1024
    assert digest_of(talk.fetch(finished)) == finished.digest


def mutated(frames: list[bytes]) -> list[bytes]:
    """The same message, damaged in one of the ways that a decoder may stumble over."""
    magic, header = frames
    at = random.randrange(len(header))
    match random.randrange(8):
        case 0:
            return [magic, header[:at]]
        case 1:
            return [magic, header[:at] + random.randbytes(random.randrange(1, 8)) + header[at + 1 :]]
        case 2:
            return [random.randbytes(4), header]
        case 3:
            return [magic]
        case 4:
            return [magic, header, *[b"x" * 10] * random.randrange(1, 400)]
        case 5:
            return [magic, b"\x91" * 10_000 + header]
        case 6:
            return [magic, random.choice([b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])]
        case _:
            return [magic, header.replace(b"a", b"\xff")]


def test_requests_that_cannot_become_pictures(start: Start, connect: Connect) -> None:
    talk = connect(start())

    def refusal(**changes: object) -> str:
        payload = changes.pop("payload", [])
        submit = Submit(**{"job_id": str(uuid.uuid4()), "request": picture(), **changes})  # pyright: ignore[reportArgumentType]
        talk.say(submit, payload)  # pyright: ignore[reportArgumentType]
        refused = talk.hear_until(Refused)
        assert refused.job_id == submit.job_id and not refused.later
        return refused.message

    assert "not understood: Expected `str` of length >= 1 - at `$.models`" in refusal(models="")
    said = refusal(models="../../etc/passwd")
    assert "choose one of embedded, half" in said and "with the folder or file of another one as --models-dir" in said
    assert "lacks its controlnet model" in refusal(models="half")
    assert "multiple of 8" in refusal(request=replace(picture(), width=100))
    mask = describe_array(np.zeros((64, 64), np.uint8))
    assert "1 arrays are announced, 0 came" in refusal(arrays=(mask,))
    assert "damaged on the way" in refusal(arrays=(mask,), payload=[b"\1" * 64 * 64])
    person = masked_person(mask)
    assert "mask of 'Ann' did not come" in refusal(request=replace(picture(), characters=(person,)))

    talk.say(
        Submit(job_id=str(uuid.uuid4()), request=replace(picture(), characters=(person,)), arrays=(mask,)), [bytes(64 * 64)]
    )
    talk.hear_until(Finished)


def test_a_full_queue(start: Start, connect: Connect) -> None:
    talk = connect(start(waiting_jobs=2), greet=False)
    assert talk.greet().waiting_jobs == 2
    for _ in range(6):
        talk.submit(picture(steps=100))
    refused = talk.hear_until(Refused)
    assert "2 jobs are waiting" in refused.message and refused.later


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        *((bind, "listens on loopback only") for bind in ("tcp://0.0.0.0:0", "tcp://192.168.1.2:5555", "tcp://*:5555")),
        ("tcp://0.0.0.0:0", "`beyondscene keygen --data {data} --endpoint .*`beyondscene client add NAME --data {data} -o"),
        ("127.0.0.1:5577", "^'127.0.0.1:5577' is no address: write tcp://127.0.0.1:5577.$"),
        *((bind, "is no address: write tcp://HOST:PORT.") for bind in ("ipc:///tmp/x", "nonsense", "tcp://[::1")),
    ],
)
def test_other_machines_are_kept_out(tmp_path: Path, bind: str, words: str) -> None:
    settings = ServeSettings(data_folder=tmp_path / "data", ready_file=tmp_path / "ready.json", bind=bind)
    with pytest.raises(ServeError, match=words.format(data=tmp_path / "data")):
        serve(settings, lambda extra: [])
    assert not list(tmp_path.iterdir())


def test_an_address_in_use(start: Start, tmp_path: Path) -> None:
    taken = start().connection().endpoint
    settings = ServeSettings(data_folder=tmp_path / "data", ready_file=tmp_path / "ready.json", bind=taken)
    with pytest.raises(ServeError, match="cannot be used"):
        serve(settings, lambda extra: [])
