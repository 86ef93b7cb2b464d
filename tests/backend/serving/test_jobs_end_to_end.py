"""One gateway, one worker process, real sockets: from Submit to a picture that is whole."""

import io
import time
import uuid

from beyondscene.protocol import (
    Accepted,
    Chunk,
    Failed,
    Fetch,
    Finished,
    Ping,
    Pong,
    Previewed,
    Progressed,
    Refused,
    Started,
    Submit,
    Subscribe,
    digest_of,
)
from PIL import Image

from .conftest import Connect, Start
from .talk import endings, picture


def test_from_submit_to_picture(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture(steps=20, side_px=768))
    finished = talk.hear_until(Finished, job_id)

    kinds = [type(event) for event in talk.of(job_id)]
    assert kinds[:2] == [Accepted, Started]
    assert Progressed in kinds and Previewed in kinds
    durable = [event.seq for event in talk.of(job_id) if isinstance(event, Accepted | Started | Finished)]
    assert durable == [0, 1, 2]
    fractions = [event.fraction for event in talk.heard if isinstance(event, Progressed)]
    assert fractions == sorted(fractions)

    data = talk.fetch(finished)
    assert len(data) > 1024 * 1024  # more than one chunk
    assert digest_of(data) == finished.digest
    assert Image.open(io.BytesIO(data)).size == (768, 768)
    left = [path.name for path in (gateway.data_folder / "results").iterdir()]
    assert left == [f"{job_id}.png"]


def test_one_job_after_another(start: Start, connect: Connect) -> None:
    talk = connect(start())
    first, second = talk.submit(picture(seed=1)), talk.submit(picture(seed=2))
    one, two = talk.hear_until(Finished, first), talk.hear_until(Finished, second)
    positions = [event.position for event in talk.heard if isinstance(event, Accepted)]
    assert positions == [0, 1]
    started = [event.job_id for event in talk.heard if isinstance(event, Started)]
    assert started == [first, second]
    assert one.digest != two.digest
    talk.say(Ping())
    pong = talk.hear_until(Pong)
    assert (pong.queued, pong.running) == (0, 0)
    assert pong.device is not None and pong.device.name == "stand-in"


def test_previews_are_small_and_rare(start: Start, connect: Connect) -> None:
    talk = connect(start())
    submitted_s = time.monotonic()
    talk.submit(picture(steps=100, side_px=640))
    previews = []
    while not isinstance(event := talk.hear(), Finished):
        if isinstance(event, Previewed):
            previews.append((event, talk.payloads[0]))
    assert previews
    for event, jpeg in previews:
        assert len(jpeg) <= 64 * 1024
        assert Image.open(io.BytesIO(jpeg)).size == (event.width, event.height)
        assert max(event.width, event.height) <= 512
    assert len(previews) <= 2 * (time.monotonic() - submitted_s) + 1


def test_submitting_twice_renders_once(start: Start, connect: Connect) -> None:
    gateway = start()
    talk, other = connect(gateway), connect(gateway)
    job_id, request = str(uuid.uuid4()), picture()
    for _ in range(5):
        talk.say(Submit(job_id=job_id, request=request))
        other.say(Submit(job_id=job_id, request=request))
    one, two = talk.hear_until(Finished), other.hear_until(Finished)
    assert one == two
    assert len({event for event in talk.heard + other.heard if isinstance(event, Accepted)}) == 1
    assert len({event.attempt for event in talk.heard if isinstance(event, Started)}) == 1
    assert gateway.log().count("attempt 1 starts") == 1

    other.say(Submit(job_id=job_id, request=picture(seed=2)))
    refused = other.hear_until(Refused)
    assert refused.job_id == job_id
    assert "taken by another request" in refused.message


def test_a_second_connection_hears_it_all_again(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture())
    finished = talk.hear_until(Finished)
    talk.close()

    other = connect(gateway)
    other.say(Subscribe(job_id=job_id))
    assert other.hear_until(Finished) == finished
    assert [type(event) for event in other.of(job_id)] == [Accepted, Started, Finished]
    assert digest_of(other.fetch(finished)) == finished.digest

    other.heard.clear()
    other.say(Subscribe(job_id=job_id, since_seq=2))
    other.hear_until(Finished)
    assert len(other.heard) == 1


def test_fetch_keeps_to_its_credit(start: Start, connect: Connect) -> None:
    talk = connect(start())
    job_id = talk.submit(picture(side_px=1024, steps=2))
    finished = talk.hear_until(Finished)
    talk.say(Fetch(job_id=job_id, offset=finished.size_bytes - 10, chunks=8))
    chunk = talk.hear_until(Chunk)
    assert (chunk.offset, len(talk.payloads[0])) == (finished.size_bytes - 10, 10)
    talk.say(Fetch(job_id=job_id, offset=finished.size_bytes))
    assert "nothing at offset" in talk.hear_until(Refused).message
    talk.say(Fetch(job_id=str(uuid.uuid4()), offset=0))
    assert "knows no job" in talk.hear_until(Refused).message


def test_several_results_may_be_on_their_way_at_once(start: Start, connect: Connect) -> None:
    talk = connect(start())
    jobs = [talk.submit(picture(f"a field {number}")) for number in range(3)]
    for job_id in jobs:
        talk.hear_until(Finished, job_id)
    for job_id in jobs:
        talk.say(Fetch(job_id=job_id, offset=0))
    for job_id in jobs:
        talk.hear_until(Chunk, job_id)
    assert not any(isinstance(event, Refused) for event in talk.heard)


def test_a_broken_job_does_not_break_the_worker(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    pid = gateway.worker().pid
    jobs = {word: talk.submit(picture(word)) for word in ("boom", "careless", "exit", "greedy")}
    job_id = talk.submit(picture())
    talk.hear_until(Finished, job_id)
    messages = {event.job_id: event.message for event in talk.heard if isinstance(event, Failed)}
    assert "KeyError: 'a slip'" in messages[jobs["boom"]]
    assert messages[jobs["careless"]] == "The scene is careless: take care."
    assert "SystemExit" in messages[jobs["exit"]]
    assert "The memory was not enough for this picture: choose a smaller size" in messages[jobs["greedy"]]
    assert all(len(endings(talk.of(one))) == 1 for one in jobs.values())
    assert gateway.worker().pid == pid
    assert "Traceback" in (gateway.data_folder / "log" / "worker-0.log").read_text()
