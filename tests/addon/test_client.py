"""The client's side of the conversation without a socket and with a clock of the test's own."""

import os
from pathlib import Path

import numpy as np
import pytest
from beyondscene.protocol import (
    CHUNK_BYTES,
    CREDIT_CHUNKS,
    Accepted,
    Cancel,
    Chunk,
    Decoder,
    Fetch,
    Finished,
    Hello,
    JobsListed,
    ListJobs,
    Ping,
    Pong,
    Received,
    Refused,
    Request,
    Submit,
    Subscribe,
    Welcome,
    digest_of,
    encode,
)
from beyondscene.protocol.client import GREETING_S, Client, Heard, Lost, Saved, Spoilt, new_job_id
from beyondscene.protocol.codec import HEADER_LIMIT_BYTES
from beyondscene.protocol.messages import Message
from beyondscene.protocol.scene import RenderRequest
from beyondscene.protocol.transfer import move_beside

JOB = new_job_id()


def said(client: Client) -> list[Message]:
    """What the client wants sent, and takes it away."""
    messages = [Decoder(Request)(frames)[0] for frames in client.outgoing]
    client.outgoing.clear()
    return messages


def hear(client: Client, message: Message, *payload: bytes, now: float = 0) -> list[Heard]:
    return client.receive(encode(message, payload), now)


@pytest.fixture
def client() -> Client:
    """A client that has been welcomed."""
    one = Client("tcp://127.0.0.1:1", "test", now=0)
    assert isinstance(said(one)[0], Hello)
    hear(one, Welcome(version=1, app_version="0", boot_id="b", models=()))
    return one


def finished(data: bytes) -> Finished:
    facts = {"media_type": "image/png", "size_bytes": len(data), "digest": digest_of(data)}
    return Finished(job_id=JOB, seq=4, width=8, height=8, **facts)


def submit(client: Client, path: Path) -> None:
    client.submit(JOB, RenderRequest(width=64, height=64, prompt="a field"), path)
    assert [type(one) for one in said(client)] == [Submit]


def test_a_cancel_that_is_refused_for_now_is_said_again_and_takes_no_picture_away(client: Client, tmp_path: Path) -> None:
    data = b"picture"
    submit(client, tmp_path / "a.png")
    hear(client, Accepted(job_id=JOB, seq=0, position=0))
    client.cancel(JOB)
    assert hear(client, Refused(job_id=JOB, message="The disk is full.", later=True), now=1)
    said(client)
    client.tick(3)
    assert said(client)[0] == Cancel(job_id=JOB)
    hear(client, finished(data))
    assert isinstance(hear(client, Chunk(job_id=JOB, offset=0, size_bytes=len(data)), data)[0][0], Saved)


def test_a_result_is_fetched_within_the_credit_and_appears_whole(client: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256) * 21 + b"the end"
    path = tmp_path / "picture.png"
    submit(client, path)
    hear(client, finished(data))
    asked, sent, events = 0, 0, []
    while sent < len(data):
        for fetch in said(client):
            assert isinstance(fetch, Fetch)
            assert fetch.offset == asked
            asked = min(asked + fetch.chunks * CHUNK_BYTES, len(data))
            assert asked - sent <= CREDIT_CHUNKS * CHUNK_BYTES
        assert not path.exists()
        piece = data[sent : min(sent + CHUNK_BYTES, asked)]
        events = hear(client, Chunk(job_id=JOB, offset=sent, size_bytes=len(data)), piece)
        sent += len(piece)
    assert [type(event) for event, _ in events] == [Saved]
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("receipts", [True, False])
def test_a_backend_that_asks_is_told_once_a_picture_is_here(client: Client, tmp_path: Path, receipts: bool) -> None:
    hear(client, Welcome(version=1, app_version="0", boot_id="b", models=(), receipts=receipts))
    submit(client, tmp_path / "picture.png")
    hear(client, finished(b"picture"))
    said(client)
    hear(client, Chunk(job_id=JOB, offset=0, size_bytes=7), b"picture")
    receipt = [Received(job_id=JOB, digest=digest_of(b"picture"))] if receipts else []
    assert said(client) == receipt
    assert new_to_it(client) == receipt  # it may have been lost with the line


def test_masks_and_texts_that_no_backend_takes_are_not_sent(client: Client, tmp_path: Path) -> None:
    request = RenderRequest(width=64, height=64, prompt="a field")
    for masks in ([np.zeros((8193, 8192), np.uint8)], [np.zeros((8, 8), np.uint8)] * 259):
        client.submit(JOB, request, tmp_path / "picture.png", arrays=masks)
        assert said(client) == []
        ((refused, _),) = client.tick(0.5)
        assert isinstance(refused, Refused) and refused.job_id == JOB and "smaller ones, of half" in refused.message
    client.submit(JOB, RenderRequest(width=64, height=64, prompt="a" * HEADER_LIMIT_BYTES), tmp_path / "picture.png")
    assert said(client) == []
    ((refused, _),) = client.tick(0.6)
    assert isinstance(refused, Refused) and refused.job_id == JOB and "write shorter prompts" in refused.message
    assert not client.tick(0.7)


@pytest.mark.parametrize("fault", ["bytes", "order", "nothing", "refused", "left"])
def test_what_goes_wrong_on_the_way_leaves_no_file(client: Client, tmp_path: Path, fault: str) -> None:
    submit(client, tmp_path / "picture.png")
    hear(client, finished(b"picture"))
    assert len(said(client)) == 1
    if fault == "left":
        client.close()
    elif fault == "refused":
        hear(client, Refused(job_id=JOB, message="It is gone."))
    else:
        chunk = Chunk(job_id=JOB, offset=3 if fault == "order" else 0, size_bytes=7)
        (event, _), *rest = hear(client, chunk, *([] if fault == "nothing" else [b"pictuRe"]))
        assert isinstance(event, Spoilt)
        assert "render again" in event.message
        assert not rest
    assert not list(tmp_path.iterdir())


def test_a_broken_transfer_is_resumed_at_its_offset(client: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256) * 3
    path = tmp_path / "picture.png"
    submit(client, path)
    hear(client, finished(data))
    said(client)
    hear(client, Chunk(job_id=JOB, offset=0, size_bytes=len(data)), data[:CHUNK_BYTES])
    client.lose("The line is cut.")
    client.close()
    assert len(list(tmp_path.iterdir())) == 1 and not path.exists()

    again = Client("tcp://127.0.0.1:1", "test", now=0)
    hear(again, Welcome(version=1, app_version="0", boot_id="c", models=()))
    again.follow(JOB, path)
    said(again)
    hear(again, finished(data))
    assert said(again) == [Fetch(job_id=JOB, offset=CHUNK_BYTES, chunks=8)]
    for offset in (CHUNK_BYTES, 2 * CHUNK_BYTES):
        hear(again, Chunk(job_id=JOB, offset=offset, size_bytes=len(data)), data[offset : offset + CHUNK_BYTES])
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_what_had_come_whole_before_its_program_ended_is_the_picture(client: Client, tmp_path: Path) -> None:
    data, path = b"picture", tmp_path / "picture.png"
    part = tmp_path / f"picture.png.{digest_of(data)[:8]}.part"
    part.write_bytes(data)
    submit(client, path)
    events = [event for event, _ in hear(client, finished(data))]
    assert [type(event) for event in events] == [Finished, Saved] and not said(client)
    assert path.read_bytes() == data and list(tmp_path.iterdir()) == [path]
    part.write_bytes(b"another")
    client.follow(JOB, path)
    (_, (spoilt, _)) = hear(client, finished(data))
    assert isinstance(spoilt, Spoilt) and "is another; it is removed" in spoilt.message
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_was_taken_for_a_picture_is_free_again_where_it_does_not_get_there(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"before")
    with pytest.raises(FileNotFoundError):
        move_beside(tmp_path / "gone.part", tmp_path / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_link_is_followed_and_the_picture_is_on_the_disk_before_it_has_its_name(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, there = tmp_path / "latest.png", tmp_path / "shots" / "0001.png"
    there.parent.mkdir()
    there.write_bytes(b"before")
    link.symlink_to(there)
    flush, flushed = os.fsync, []
    monkeypatch.setattr("os.fsync", lambda descriptor: flushed.append(there.read_bytes()) or flush(descriptor))
    submit(client, link)
    hear(client, finished(b"picture"))
    hear(client, Chunk(job_id=JOB, offset=0, size_bytes=7), b"picture")
    assert link.is_symlink() and there.read_bytes() == b"picture" and list(there.parent.iterdir()) == [there]
    assert flushed == [b"before", b"picture"]  # the file, then its folder


def test_a_picture_that_another_program_is_bringing_there_is_left_to_it(client: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256) * 2
    path = tmp_path / "picture.png"
    submit(client, path)
    hear(client, finished(data))
    said(client)
    hear(client, Chunk(job_id=JOB, offset=0, size_bytes=len(data)), data[:CHUNK_BYTES])
    other = Client("tcp://127.0.0.1:1", "test", now=0)
    other.follow(JOB, path)
    events = [event for event, _ in hear(other, finished(data))]
    assert isinstance(events[-1], Spoilt) and events[-1].kept and "another program" in events[-1].message
    other.close()
    hear(client, Chunk(job_id=JOB, offset=CHUNK_BYTES, size_bytes=len(data)), data[CHUNK_BYTES:])
    assert path.read_bytes() == data and list(tmp_path.iterdir()) == [path]


def new_to_it(client: Client) -> list[Message]:
    """What is said again where the line broke and stands again, of which the caller hears only the Welcome."""
    refused = Refused(message="This connection is new to the backend.", greet=True)
    assert not hear(client, refused) and not hear(client, refused)  # one for each message that came before the Hello
    hello, *again = said(client)
    assert isinstance(hello, Hello)
    welcome = Welcome(version=1, app_version="0", boot_id="c", models=())
    assert hear(client, welcome) == [(welcome, [])]
    return again


def test_what_is_to_be_answered_is_said_again_when_the_line_stands_again(client: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256) * 3
    submit(client, tmp_path / "picture.png")
    client.list_jobs()
    first = new_to_it(client)
    assert [type(one) for one in first] == [Submit, ListJobs]
    hear(client, JobsListed(jobs=()))
    hear(client, Accepted(job_id=JOB, seq=0, position=0))
    client.cancel(JOB)
    assert new_to_it(client) == [Subscribe(job_id=JOB, since_seq=1), Cancel(job_id=JOB)]
    hear(client, finished(data))  # it had ended before
    hear(client, Chunk(job_id=JOB, offset=0, size_bytes=len(data)), data[:CHUNK_BYTES])
    assert new_to_it(client) == [Fetch(job_id=JOB, offset=CHUNK_BYTES, chunks=CREDIT_CHUNKS)]
    for offset in (CHUNK_BYTES, 2 * CHUNK_BYTES):
        hear(client, Chunk(job_id=JOB, offset=offset, size_bytes=len(data)), data[offset : offset + CHUNK_BYTES])
    assert (tmp_path / "picture.png").read_bytes() == data
    assert new_to_it(client) == []


def test_a_line_that_breaks_again_before_the_greeting_came_is_greeted_again(client: Client, tmp_path: Path) -> None:
    submit(client, tmp_path / "picture.png")
    refused = Refused(message="This connection is new to the backend.", greet=True)
    for now in (20, 20 + GREETING_S):
        hear(client, refused, now=now)
        assert [type(one) for one in said(client)] == [Hello, Submit]
        hear(client, refused, now=now + GREETING_S - 1)
        assert not said(client)


def test_a_greeting_is_never_the_first_word_on_a_line_that_stands_again(client: Client, tmp_path: Path) -> None:
    """The gateway would take it for a client that follows nothing."""
    submit(client, tmp_path / "picture.png")
    client.greet()
    assert [type(one) for one in said(client)] == [Ping, Hello]
    assert [type(one) for one in new_to_it(client)] == [Submit]


def test_a_folder_that_is_gone_is_said(client: Client, tmp_path: Path) -> None:
    submit(client, tmp_path / "gone" / "picture.png")
    events = [event for event, _ in hear(client, finished(b"picture"))]
    assert [type(event) for event in events] == [Finished, Spoilt]
    assert isinstance(events[1], Spoilt) and events[1].kept and "it still has the picture" in events[1].message


def tick_until(client: Client, begin: int, end: int) -> list[Heard]:
    """Once a second, to the first that is heard of it."""
    return next((heard for now in range(begin, end) if (heard := client.tick(now))), [])


def test_silence_is_broken_by_pings_and_then_believed(client: Client) -> None:
    assert not client.tick(0.9)
    assert not said(client)
    client.tick(1.1)
    client.tick(1.2)
    assert [type(one) for one in said(client)] == [Ping]
    assert not tick_until(client, 2, 14)
    ((pong, _),) = hear(client, Pong(), now=14)
    assert isinstance(pong, Pong)
    assert not tick_until(client, 14, 30)
    ((lost, _),) = client.tick(30)
    assert isinstance(lost, Lost)
    assert "silent for 16 s" in lost.message
    assert not client.tick(60)
    assert hear(client, Pong(), now=61) == []


def test_a_request_that_takes_long_to_send_is_no_silence(client: Client) -> None:
    """Pings stand behind its masks: nothing can be heard before those are through."""
    request = RenderRequest(width=64, height=64, prompt="a field")
    client.submit(new_job_id(), request, None, arrays=[np.zeros((4000, 5000), np.uint8)])
    assert not tick_until(client, 1, 15 + 40)  # 20 MB at 4 Mbit/s
    ((lost, _),) = tick_until(client, 15 + 40, 60)
    assert isinstance(lost, Lost)


def test_a_machine_that_slept_does_not_take_its_sleep_for_silence(client: Client) -> None:
    assert not tick_until(client, 1, 10)
    hear(client, Pong(), now=10)
    assert not client.tick(8 * 3600)
    assert not tick_until(client, 8 * 3600 + 1, 8 * 3600 + 15)
    ((lost, _),) = tick_until(client, 8 * 3600 + 15, 8 * 3600 + 20)  # silent all the same
    assert isinstance(lost, Lost)
    opening = Client("tcp://127.0.0.1:1", "test", now=0)
    assert not opening.tick(3600) and not tick_until(opening, 3601, 3609) and tick_until(opening, 3609, 3615)


def test_nobody_there_and_another_language_are_said() -> None:
    one = Client("tcp://127.0.0.1:1", "test", now=0)
    assert not tick_until(one, 1, 11)
    assert "No backend answers at tcp://127.0.0.1:1" in one.tick(11)[0][0].message  # type: ignore[union-attr]
    other = Client("tcp://127.0.0.1:1", "test", now=0)
    ((lost, _),) = other.receive([b"HTTP", b"400"], 0)
    assert isinstance(lost, Lost)
    assert "another language" in lost.message


def test_job_ids_are_of_version_7_unique_and_in_order() -> None:
    ids = [new_job_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(one[14] == "7" and one[19] in "89ab" for one in ids)
    assert [one[:13] for one in ids] == sorted(one[:13] for one in ids)
