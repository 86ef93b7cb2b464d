"""kill -9 of worker, gateway and both: no accepted job is lost, none is done twice, no picture differs."""

import shutil
import signal
import uuid
from pathlib import Path

import psutil
import pytest
from beyondscene.backend.checkpoints import CheckpointFolder
from beyondscene.backend.gateway.files import JobFiles, picture_in
from beyondscene.backend.gateway.ledger import Ledger
from beyondscene.protocol import (
    Accepted,
    Cancel,
    Cancelled,
    Fetch,
    Finished,
    JobDone,
    Ping,
    Pong,
    Progressed,
    Received,
    Refused,
    RenderRequest,
    Started,
    Stopping,
    Submit,
    Subscribe,
    digest_of,
)

from .audit import audit, redone
from .conftest import Connect, Start
from .stand_in_worker import UNIT_STEPS
from .talk import PATIENCE_S, Running, Talk, attempts, endings, picture, wait_until

POINTS = [
    "before Accepted", "after Accepted", "before Started", "after Started", "before publish", "after publish",
    "before Finished", "after Finished",
]  # fmt: skip


def end(gateway: Running) -> None:
    gateway.process.terminate()
    gateway.process.communicate(timeout=PATIENCE_S)


def follow(talk: Talk, job_id: str) -> Finished:
    talk.say(Subscribe(job_id=job_id))
    return talk.hear_until(Finished, job_id)


@pytest.fixture
def undisturbed(start: Start, connect: Connect) -> str:
    """The digest of the picture that all tests here ask for."""
    talk = connect(start())
    return talk.hear_until(Finished, talk.submit(picture(seed=5, steps=30))).digest


def test_workers_killed_at_any_point(start: Start, connect: Connect, undisturbed: str) -> None:
    gateway = start()
    talk = connect(gateway)
    fragile, unlucky = (talk.submit(picture(words, seed=5, steps=30)) for words in ("fragile", "unlucky"))
    assert talk.hear_until(Finished, fragile).digest == undisturbed
    assert talk.hear_until(Finished, unlucky).digest == undisturbed
    assert attempts(talk.of(fragile)) == [1, 2, 3, 4]
    assert attempts(talk.of(unlucky)) == [1, 2]
    assert all(len(endings(talk.of(one))) == 1 for one in (fragile, unlucky))
    end(gateway)
    assert set(audit(gateway.data_folder).values()) == {"finished"}
    counts = redone(gateway.data_folder)
    assert counts[fragile] <= 3 * UNIT_STEPS and counts[unlucky] <= UNIT_STEPS


def test_gateways_killed_at_any_point(start: Start, connect: Connect, undisturbed: str) -> None:
    gateway, said = None, {}
    for point in POINTS:
        gateway = start(gateway, die=point)
        talk = connect(gateway)
        said[talk.submit(picture(seed=5, steps=30))] = talk
        gateway.process.communicate(timeout=PATIENCE_S)
        while talk.hear(0.1):
            pass
    gateway = start(gateway)
    talk = connect(gateway)
    accepted = [job_id for job_id, one in said.items() if one.of(job_id)]
    for job_id in said:  # who has heard nothing sends it again; what was accepted is there
        message = Subscribe(job_id=job_id) if job_id in accepted else Submit(job_id=job_id, request=picture(seed=5, steps=30))
        talk.say(message)
    ended: dict[str, str] = {}
    while len(ended) < len(said):
        finished = talk.hear_until(Finished)
        ended[finished.job_id] = finished.digest
    assert set(ended.values()) == {undisturbed}
    assert not any(isinstance(event, Refused) for event in talk.heard)
    end(gateway)
    states = audit(gateway.data_folder)
    assert set(states) == set(said) and set(states.values()) == {"finished"}
    assert not list((gateway.data_folder / "work").iterdir())


def test_both_killed_in_the_middle(start: Start, connect: Connect, undisturbed: str) -> None:
    gateway = start()
    talk = connect(gateway)
    running, waiting = (talk.submit(picture(seed=5, steps=30)) for _ in range(2))
    while not (isinstance(event := talk.hear(), Progressed) and event.step > 2 * UNIT_STEPS):
        pass
    worker = gateway.worker()
    gateway.process.kill()
    worker.kill()
    gateway.process.communicate()

    gateway = start(gateway)
    talk = connect(gateway)
    assert follow(talk, running).digest == undisturbed
    assert attempts(talk.of(running)) == [1, 2]
    assert [event.seq for event in talk.of(running) if isinstance(event, Accepted | Started | Finished)] == [0, 1, 2, 3]
    assert follow(talk, waiting).digest == undisturbed
    end(gateway)
    assert set(audit(gateway.data_folder).values()) == {"finished"}
    assert redone(gateway.data_folder)[running] <= UNIT_STEPS


def test_a_wish_to_cancel_survives(start: Start, connect: Connect) -> None:
    gateway = start(die="after Stopping")
    talk = connect(gateway)
    job_id = talk.submit(picture("stuck"))
    talk.hear_until(Progressed)
    talk.say(Cancel(job_id=job_id))
    gateway.process.communicate(timeout=PATIENCE_S)
    results = gateway.data_folder / "results"
    (results / f"{job_id}.png").write_bytes(b"published before an earlier kill, but not known to be")
    gateway = start(gateway)
    talk = connect(gateway)
    talk.say(Subscribe(job_id=job_id))
    talk.hear_until(Cancelled, job_id)
    assert [type(one) for one in talk.of(job_id)] == [Accepted, Started, Stopping, Cancelled]
    assert not list(results.iterdir())


def test_the_same_id_for_another_picture_is_refused_by_the_next_gateway(start: Start, connect: Connect) -> None:
    gateway = start(die="after Accepted")
    talk = connect(gateway)
    job_id = talk.submit(picture())
    gateway.process.communicate(timeout=PATIENCE_S)
    talk = connect(start(gateway))
    talk.say(Submit(job_id=job_id, request=picture(seed=2)))
    assert "taken by another request" in talk.hear_until(Refused).message
    talk.say(Submit(job_id=job_id, request=picture()))
    talk.hear_until(Finished, job_id)


def test_a_second_gateway_on_one_data_folder_is_refused(start: Start, connect: Connect) -> None:
    first = start()
    talk = connect(first)
    second = start(data_folder=str(first.data_folder))
    _, errors = second.process.communicate(timeout=PATIENCE_S)
    assert second.process.returncode != 0
    assert f"The data folder {first.data_folder} is in use by another backend" in errors
    assert not second.ready_file.exists()
    talk.hear_until(Finished, talk.submit(picture()))


def test_an_attempt_that_was_given_up_writes_nothing(tmp_path: Path) -> None:
    files, job_id = JobFiles(tmp_path), str(uuid.uuid4())
    stale = files.begin(job_id, 1)
    kept = CheckpointFolder(stale, "me")
    kept.put("canvas", {})
    (stale / "canvas.safetensors.0a1b2c3d.part").write_bytes(b"of a worker that was killed in the middle of it")
    present = files.begin(job_id, 2)
    kept.put("more", {})
    with pytest.raises(FileNotFoundError):
        picture_in(stale).write_bytes(b"stale")
    assert [path.name for path in present.iterdir()] == ["canvas.safetensors"]
    picture_in(present).write_bytes(b"present")
    facts = {"width": 8, "height": 8, "media_type": "image/png", "digest": "0" * 64}
    with pytest.raises(OSError, match="attempt-1"):
        files.publish(JobDone(job_id=job_id, attempt=1, size_bytes=5, **facts))
    with pytest.raises(OSError, match="the worker announced 6"):
        files.publish(JobDone(job_id=job_id, attempt=2, size_bytes=6, **facts))
    files.publish(JobDone(job_id=job_id, attempt=2, size_bytes=7, **facts))
    assert files.read(job_id, 0, 100) == b"present"


def test_fetched_pictures_make_room_and_others_do_not(start: Start, connect: Connect) -> None:
    gateway = start(results_limit_bytes=40_000)  # three pictures of 12 kB
    talk = connect(gateway)
    first, second = (talk.hear_until(Finished, talk.submit(picture(seed=seed))) for seed in (1, 2))
    assert digest_of(talk.receive(second)) == second.digest
    others = [talk.hear_until(Finished, talk.submit(picture(seed=seed))) for seed in (3, 4)]
    left = {path.stem for path in (gateway.data_folder / "results").iterdir()}
    assert left == {first.job_id, *(one.job_id for one in others)}
    talk.say(Fetch(job_id=second.job_id, offset=0))
    assert "no longer there" in talk.hear_until(Refused, second.job_id).message

    talk.hear_until(Finished, talk.submit(picture(seed=5)))
    talk.submit(picture(seed=6))
    refused = talk.hear_until(Refused)
    assert "that nobody has fetched fill" in refused.message and refused.later
    talk.receive(first)
    talk.hear_until(Finished, talk.submit(picture(seed=6)))


def test_a_picture_that_no_room_would_do_for_takes_nobodys_and_goes_first(start: Start, connect: Connect) -> None:
    gateway = start(results_limit_bytes=40_000)  # three pictures of 12 kB
    talk = connect(gateway)

    def make(seed: int, side_px: int = 64) -> str:
        finished = talk.hear_until(Finished, talk.submit(picture(seed=seed, side_px=side_px)))
        talk.say(Ping())  # after which whatever had to go is gone
        talk.hear_until(Pong)
        before.append({path.stem for path in (gateway.data_folder / "results").iterdir()})
        talk.receive(finished)
        return finished.job_id

    before: list[set[str]] = []
    small, large, last = make(1), make(2, side_px=128), make(3)
    assert before == [{small}, {small, large}, {small, last}]


def test_a_picture_that_somebody_has_deleted_fills_no_quota(start: Start, connect: Connect) -> None:
    gateway = start(results_limit_bytes=10_000)  # less than one picture
    talk = connect(gateway)
    finished = talk.hear_until(Finished, talk.submit(picture()))
    (gateway.data_folder / "results" / f"{finished.job_id}.png").unlink()
    talk.say(Fetch(job_id=finished.job_id, offset=0))
    assert "no longer there" in talk.hear_until(Refused).message
    talk.submit(picture(seed=2))
    talk.hear_until(Accepted, timeout_s=60)


def test_a_picture_that_cannot_be_removed_stays_and_others_make_room(start: Start, connect: Connect) -> None:
    gateway = start(results_limit_bytes=20_000)  # one picture of 12 kB
    talk = connect(gateway)
    results = gateway.data_folder / "results"
    first, second = (talk.hear_until(Finished, talk.submit(picture(seed=seed))) for seed in (1, 2))
    (results / f"{first.job_id}.png").unlink()
    (results / f"{first.job_id}.png").mkdir()  # as one that is held open on Windows: it cannot be unlinked
    for event in (first, second):
        talk.say(Received(job_id=event.job_id, digest=event.digest))
    third = talk.hear_until(Finished, talk.submit(picture(seed=3)), timeout_s=60)
    connect(gateway)
    assert {path.stem for path in results.iterdir()} == {first.job_id, third.job_id}


@pytest.mark.parametrize("point", ["before forget", "after forget"])
def test_no_picture_that_nobody_knows_stays_when_the_gateway_is_killed(start: Start, connect: Connect, point: str) -> None:
    gateway = start(results_limit_bytes=20_000, die=point)  # one picture of 12 kB
    talk = connect(gateway)
    talk.receive(talk.hear_until(Finished, talk.submit(picture(seed=1))))
    newer = talk.submit(picture(seed=2))
    gateway.process.communicate(timeout=PATIENCE_S)
    gateway = start(gateway, results_limit_bytes=20_000)
    connect(gateway)
    end(gateway)
    ledger = Ledger(gateway.data_folder / "ledger.sqlite")
    assert [kept.job_id for kept in ledger.results()] == [newer]
    assert [path.stem for path in (gateway.data_folder / "results").iterdir()] == [newer]
    ledger.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_kills(start: Start, connect: Connect, undisturbed: str, seed: int) -> None:
    """What `tools/kill_campaign.py` does at length."""
    import random
    import time

    dice = random.Random(seed)
    gateway = start()
    said = []
    for _ in range(10):
        talk = connect(gateway)
        said.append(talk.submit(picture(seed=5, steps=30)))
        talk.hear_until(Accepted)
        time.sleep(dice.uniform(0, 2))
        if dice.random() < 0.5:
            for process in psutil.Process(gateway.process.pid).children():
                process.send_signal(signal.SIGKILL)
        else:
            gateway.kill()
            gateway = start(gateway)
    talk = connect(gateway)
    assert {follow(talk, job_id).digest for job_id in said} == {undisturbed}
    end(gateway)
    assert set(audit(gateway.data_folder)) == set(said)


def test_what_the_power_takes_is_the_last_commit_at_most(tmp_path: Path) -> None:
    """The write-ahead log is cut within its last commit, as a power cut may leave it."""
    from beyondscene.backend.gateway.jobs import Jobs

    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    jobs, sizes, log = Jobs(ledger), [], path.with_name("ledger.sqlite-wal")
    request: RenderRequest = picture()
    for number in range(8):
        jobs.submit(Submit(job_id=str(uuid.UUID(int=number)), request=request))
        sizes.append(log.stat().st_size)
    for number in range(1, 8):
        for cut in (1, (sizes[number] - sizes[number - 1]) // 2, sizes[number] - sizes[number - 1]):
            copy = tmp_path / "copy" / path.name
            copy.parent.mkdir()
            shutil.copy(path, copy)
            copy.with_name(log.name).write_bytes(log.read_bytes()[: sizes[number] - cut])
            after = Ledger(copy)
            assert [job.id for job in after.live()] == [str(uuid.UUID(int=n)) for n in range(number)]
            after.close()
            shutil.rmtree(copy.parent)
    ledger.close()
    wait_until(lambda: not log.exists() or log.stat().st_size == 0)
