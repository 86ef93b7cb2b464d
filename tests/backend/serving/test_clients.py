"""Several clients with keys of their own: who may do what, how much, and until when."""

import contextlib
import errno
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import zmq
from beyondscene.backend.cli import main
from beyondscene.backend.gateway import ServeError, ServeSettings, serve
from beyondscene.backend.gateway.allow_list import Listed, add, list_path, read_list
from beyondscene.backend.gateway.self_test import check_door, knock
from beyondscene.backend.gateway.sockets import Door, KeyPair, endpoint_of
from beyondscene.protocol import (
    Accepted,
    Cancel,
    Cancelled,
    Chunk,
    Fetch,
    Finished,
    Hello,
    JobsListed,
    ListJobs,
    Ping,
    Pong,
    Progressed,
    Received,
    Refused,
    Started,
    Stopping,
    Submit,
    Subscribe,
    digest_of,
    encode,
    read_connection,
)
from beyondscene.protocol.connection import Invitation, write_connection, write_invitation

from .conftest import Connect, Start
from .talk import Running, Talk, picture

Capture = pytest.CaptureFixture[str]


def client(data_folder: Path, *arguments: object) -> int:
    action, *rest = map(str, arguments)
    return main(["client", action, "--data", str(data_folder), *rest])


class Studio:
    """A gateway with keys that last, and the files of its clients."""

    def __init__(self, start: Start, folder: Path) -> None:
        self.folder = folder
        self.data_folder = folder / "data"
        self._start = start
        self._running: Running | None = None
        assert main(["keygen", "--data", str(self.data_folder), "--endpoint", "tcp://render.studio:5555"]) == 0

    @property
    def gateway(self) -> Running:
        assert self._running is not None
        return self._running

    def add(self, name: str, *options: object) -> Path:
        """The file of a new client."""
        file = self.folder / f"client-{len(list(self.folder.glob('client-*')))}" / "key.json"
        assert client(self.data_folder, "add", name, "-o", file, *options) == 0
        return file

    def open(self, **settings: object) -> None:
        self._running = self._start(self._running, **settings)
        assert self.gateway.data_folder == self.data_folder
        self.gateway.connection()

    def talk(self, connect: Connect, file: Path) -> Talk:
        """As the holder of `file`, which names the studio's address; the gateway of the test listens elsewhere."""
        own, there = read_connection(file), read_connection(self.gateway.ready_file)
        assert own.endpoint == "tcp://render.studio:5555" and own.server_public_key == there.server_public_key
        return connect(self.gateway, keys=keys_in(file))


@pytest.fixture
def studio(start: Start, tmp_path: Path) -> Studio:
    folder = tmp_path / "gateway-0"  # where the first gateway of a test has its data
    folder.mkdir()
    return Studio(start, folder)


def test_each_role_does_what_it_may(studio: Studio, connect: Connect) -> None:
    files = [studio.add(name, "--role", role) for name, role in (("Ann", "submit"), ("Ben 2", "submit"), ("Wall", "observe"))]
    boss_file = studio.add("../boss", "--role", "admin")  # a name is a label
    studio.open()
    ann, ben, wall = (studio.talk(connect, file) for file in files)
    boss = studio.talk(connect, boss_file)
    first = ann.submit(picture(steps=300))
    ann.hear_until(Started, first)
    mine = ben.submit(picture())
    ben.hear_until(Accepted, mine)

    def listed(talk: Talk) -> list[tuple[str, str]]:
        talk.say(ListJobs())
        return [(job.job_id, job.owner) for job in talk.hear_until(JobsListed).jobs]

    assert (listed(ann), listed(ben)) == ([(first, "Ann")], [(mine, "Ben 2")])
    assert listed(wall) == listed(boss) == [(first, "Ann"), (mine, "Ben 2")]
    for question in (Subscribe(job_id=first), Cancel(job_id=first), ListJobs(job_id=first), Fetch(job_id=first, offset=0)):
        ben.say(question)
        assert f"knows no job {first}" in ben.hear_until(Refused).message
    ben.say(Ping())
    pong = ben.hear_until(Pong)
    assert (pong.running, pong.queued) == (1, 1)  # the length of the queue is all it learns of others
    ben.say(Submit(job_id=first, request=picture(steps=300)))
    assert "taken by another request" in ben.hear_until(Refused).message

    wall.say(Subscribe(job_id=first))
    wall.hear_until(Progressed, first)
    for question in (Cancel(job_id=first), Submit(job_id=mine, request=picture())):
        wall.say(question)
        assert "'Wall' may observe here, which does not allow" in wall.hear_until(Refused).message

    ann.submit(picture(), priority=1)
    assert "Priorities above 0 are for admins" in ann.hear_until(Refused).message
    boss.say(Cancel(job_id=first))
    boss.hear_until(Cancelled, first)
    ann.hear_until(Stopping, first)
    finished = wall_sees(wall, mine)
    assert digest_of(wall.fetch(finished)) == digest_of(ben.fetch(ben.hear_until(Finished, mine))) == finished.digest
    studio.gateway.kill()  # and the next gateway knows whose is what
    studio.open()
    assert listed(studio.talk(connect, files[0])) == [(first, "Ann")]
    assert not list(studio.folder.parent.rglob("boss*"))


def test_only_whose_picture_it_is_can_let_it_make_room(studio: Studio, connect: Connect) -> None:
    ann_file, ben_file, wall_file = studio.add("Ann"), studio.add("Ben"), studio.add("Wall", "--role", "observe")
    studio.open(results_limit_bytes=40_000)  # three pictures of 12 kB
    ann, ben, wall = (studio.talk(connect, file) for file in (ann_file, ben_file, wall_file))
    first = ann.hear_until(Finished, ann.submit(picture()))
    result = studio.data_folder / "results" / f"{first.job_id}.png"
    assert digest_of(wall.receive(wall_sees(wall, first.job_id))) == first.digest
    ann.say(Fetch(job_id=first.job_id, offset=first.size_bytes - 1))  # the end of it is not all of it
    ann.hear_until(Chunk)
    ann.say(Received(job_id=first.job_id, digest="0" * 64))
    assert "no picture of the digest" in ann.hear_until(Refused).message
    ben.say(Received(job_id=first.job_id, digest=first.digest))
    assert "knows no job" in ben.hear_until(Refused).message
    of_ben = [ben.hear_until(Finished, ben.submit(picture(seed=seed))) for seed in (2, 3, 4)]
    assert result.exists()
    ann.receive(first)
    boss = connect(studio.gateway)  # whoever started it
    boss.submit(picture(seed=5))
    boss.hear_until(Finished)
    assert not result.exists()
    boss.receive(of_ben[0])  # an admin may do so with everybody's
    boss.hear_until(Finished, boss.submit(picture(seed=6)))
    assert not (studio.data_folder / "results" / f"{of_ben[0].job_id}.png").exists()


def wall_sees(wall: Talk, job_id: str) -> Finished:
    wall.say(Subscribe(job_id=job_id))
    return wall.hear_until(Finished, job_id)


def test_a_higher_priority_overtakes(studio: Studio, connect: Connect) -> None:
    studio.open()
    talk = connect(studio.gateway)  # of whoever started it: an admin
    first = talk.submit(picture(steps=100))
    talk.hear_until(Started, first)
    low, normal, high = (talk.submit(picture(steps=1), priority=priority) for priority in (-1, 0, 1))
    for _ in range(4):
        talk.hear_until(Finished)
    assert [one.job_id for one in talk.heard if isinstance(one, Started)] == [first, high, normal, low]


def test_a_revoked_key_is_refused_at_the_next_message(studio: Studio, connect: Connect) -> None:
    ann_file, ben_file = studio.add("Ann"), studio.add("Benno")
    studio.open()
    ann, ben = (studio.talk(connect, file) for file in (ann_file, ben_file))
    job_id = ann.submit(picture(steps=300))
    ann.hear_until(Progressed, job_id)
    assert client(studio.data_folder, "revoke", "Ann") == 0
    ann.say(Cancel(job_id=job_id))
    assert "no longer allowed" in ann.hear_until(Refused).message
    assert ann.hear(0.5) is None  # nor is it told anything more
    again = connect(studio.gateway, greet=False, keys=keys_in(ann_file))
    with contextlib.suppress(zmq.Again):
        again.socket.send_multipart(encode(Hello(versions=(1, 1), client="Ann")), zmq.DONTWAIT)
    assert again.hear(0.7) is None
    ben.hear_until(Finished, ben.submit(picture(steps=1)))  # and Ann's job has gone on
    (studio.data_folder / "clients.json").write_text("{")  # a list that cannot be read lets nobody in
    ben.say(Ping())
    assert "no longer allowed" in ben.hear_until(Refused).message
    connect(studio.gateway)


def keys_in(file: Path) -> tuple[bytes, bytes]:
    own = read_connection(file)
    return own.client_public_key.encode(), own.client_secret_key.encode()


def test_each_key_has_its_quota(studio: Studio, connect: Connect) -> None:
    few, little, free, none = (
        studio.add("Few", "--jobs", 1), studio.add("Little", "--keep", 30_000 / 2**30), studio.add("Freely"),
        studio.add("None", "--keep", 0),
    )  # fmt: skip
    studio.open()
    few_talk, little_talk, free_talk, none_talk = (studio.talk(connect, file) for file in (few, little, free, none))
    pictures = [little_talk.hear_until(Finished, little_talk.submit(picture(seed=seed))) for seed in (1, 2, 3)]  # of 12 kB
    little_talk.submit(picture(seed=4))
    refused = little_talk.hear_until(Refused)
    assert "'Little' has not fetched and requests that wait fill" in refused.message and refused.later
    little_talk.receive(pictures[0])
    little_talk.hear_until(Accepted, little_talk.submit(picture(seed=4)))
    free_talk.hear_until(Started, free_talk.submit(picture(steps=200)))
    free_talk.hear_until(Accepted, free_talk.submit(picture()))  # of which no other's limit takes notice
    few_talk.hear_until(Accepted, few_talk.submit(picture()))
    few_talk.submit(picture())
    refused = few_talk.hear_until(Refused)
    assert "1 jobs of 'Few' are waiting, which is its limit" in refused.message and refused.later
    none_talk.submit(picture())
    assert not none_talk.hear_until(Refused).later  # it would wait for ever


def test_a_role_and_quotas_change_while_the_key_stays(studio: Studio, connect: Connect, capsys: Capture) -> None:
    file = studio.add("Ann", "--jobs", 3)
    studio.add("Ben")
    studio.open()
    ann, before = studio.talk(connect, file), read_connection(file)
    capsys.readouterr()
    assert client(studio.data_folder, "set", "Ann", "--role", "observe", "--keep", 0.5) == 0
    changed = capsys.readouterr().out
    assert changed.startswith("Ann  observe  ") and changed.endswith("  --jobs 3  --keep 0.5\n")
    assert client(studio.data_folder, "list") == 0
    ann_line, ben_line = capsys.readouterr().out.splitlines()
    assert f"{ann_line}\n" == changed and "--" not in ben_line
    ann.greet()
    ann.submit(picture())
    assert "'Ann' may observe here" in ann.hear_until(Refused).message
    assert client(studio.data_folder, "set", "Ann", "--role", "submit") == 0
    ann.greet()
    ann.hear_until(Finished, ann.submit(picture(steps=1)))
    assert read_connection(file) == before
    assert client(studio.data_folder, "set", "Ann") == 2
    assert "Nothing is to be changed for 'Ann': add --role, --jobs or --keep." in capsys.readouterr().err
    assert client(studio.data_folder, "set", "Bob", "--jobs", 1) == 2
    assert "There is no client 'Bob': listed are 'Ann', 'Ben'." in capsys.readouterr().err


def test_an_artist_whose_secret_does_not_travel(studio: Studio, connect: Connect, tmp_path: Path, capsys: Capture) -> None:
    mine = tmp_path / "new folder" / "ann.json"
    assert main(["keygen", "--backend", str(studio.data_folder / "invitation.json"), "-o", str(mine)]) == 0
    said = capsys.readouterr().out
    assert mine.stat().st_mode & 0o777 == 0o600 and str(mine.with_name("ann.json.pub")) in said
    assert client(studio.data_folder, "allow", "Ann", f"{mine}.pub", "--role", "observe") == 0
    fingerprint = said.split()[-1]
    assert capsys.readouterr().out == f"Ann  observe  {fingerprint}\n"  # so that it can be compared at once
    assert client(studio.data_folder, "list") == 0
    assert capsys.readouterr().out == f"Ann  observe  {fingerprint}\n"
    assert (studio.data_folder / "server.json").stat().st_mode & 0o777 == 0o600
    studio.open()
    studio.talk(connect, mine)
    here = read_connection(studio.gateway.ready_file)
    write_connection(mine, msgspec.structs.replace(read_connection(mine), endpoint=here.endpoint))
    assert main(["jobs", "--key-file", str(mine)]) == 0
    assert not capsys.readouterr().err


def test_keys_that_others_may_read_are_told_of(studio: Studio, capsys: Capture) -> None:
    (studio.data_folder / "server.json").chmod(0o640)
    studio.open()
    assert "server.json are open to other users: `chmod 600 '" in studio.gateway.log()
    studio.gateway.ready_file.chmod(0o644)
    assert main(["jobs", "--ready-file", str(studio.gateway.ready_file)]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.endswith(f"are open to other users: `chmod 600 '{studio.gateway.ready_file}'`.")


def test_a_key_that_is_not_let_in_is_told_so_at_once(studio: Studio, capsys: Capture) -> None:
    file = studio.add("Ann")
    studio.open()
    here = read_connection(studio.gateway.ready_file)
    write_connection(file, msgspec.structs.replace(read_connection(file), endpoint=here.endpoint))
    assert client(studio.data_folder, "revoke", "Ann") == 0
    begun_s = time.monotonic()
    assert main(["jobs", "--key-file", str(file), "--patience", "300"]) == 2
    assert time.monotonic() - begun_s < 100
    assert f"does not let the key in {file} in: it was revoked or never listed" in capsys.readouterr().err


def test_a_file_of_keys_that_are_none_is_told_of(studio: Studio, tmp_path: Path, capsys: Capture) -> None:
    file = studio.add("Ann")
    good = read_connection(file)
    for words, change in {
        "names the endpoint 'tcp://render.studio', to which nobody can connect": {"endpoint": "tcp://render.studio"},
        "names the endpoint 'tcp://[::1'": {"endpoint": "tcp://[::1"},
        "): name the file that `serve` or `client add` wrote.": {"client_secret_key": " " * 40},
        "holds a key that is none": {"client_secret_key": "#" * 40},
    }.items():
        write_connection(file, msgspec.structs.replace(good, **change))
        assert main(["jobs", "--key-file", str(file)]) == 2
        assert words in capsys.readouterr().err
    invitation = tmp_path / "invitation.json"
    write_invitation(invitation, Invitation(endpoint="tcp://render.studio", server_public_key=good.server_public_key))
    assert main(["keygen", "--backend", str(invitation), "-o", str(tmp_path / "x")]) == 2
    assert "to which nobody can connect" in capsys.readouterr().err


def test_keys_that_cannot_be_handed_on_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invitation = tmp_path / "data" / "invitation.json"
    invitation.mkdir(parents=True)
    command = ["keygen", "--data", str(tmp_path / "data"), "--endpoint", "tcp://render.studio:5555"]
    assert main(command) == 2
    invitation.rmdir()
    assert main(command) == 0

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    listed = ["client", "add", "Ann", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "ann.json")]
    own = ["keygen", "--backend", str(invitation), "-o", str(tmp_path / "own.json")]
    with monkeypatch.context() as patch:
        patch.setattr("beyondscene.backend.cli.client.write_connection", full)
        write = Path.write_bytes
        patch.setattr(Path, "write_bytes", lambda path, data: (full if path.suffix == ".pub" else write)(path, data))
        assert main(listed) == main(own) == 2
    assert main(listed) == main(own) == 0


def test_mistakes_of_whoever_runs_it(studio: Studio, tmp_path: Path, capsys: Capture) -> None:
    data = str(studio.data_folder)
    ann = studio.add("Ann")
    (tmp_path / "manual.pub").write_text("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID")
    (tmp_path / "cut.pub").write_text("Yne@$w-vo<fV")
    (tmp_path / "ann.pub").write_text(read_connection(ann).client_public_key)
    for words, command in {
        "The name 'Ann' is taken": ["client", "add", "Ann", "--data", data, "-o", str(tmp_path / "x")],
        "The name 'local' is taken": ["client", "add", "local", "--data", data, "-o", str(tmp_path / "x")],
        "listed under another name": ["client", "allow", "Eve", str(tmp_path / "ann.pub"), "--data", data],
        "There is no client 'Bob': listed are 'Ann'": ["client", "revoke", "Bob", "--data", data],
        "printed in a manual": ["client", "allow", "Eve", str(tmp_path / "manual.pub"), "--data", data],
        "holds keys already": ["keygen", "--data", data, "--endpoint", "tcp://render.studio:5555"],
        "Clients cannot connect to 'tcp://0.0.0.0:5555'": [
            "keygen",
            "--data",
            str(tmp_path),
            "--endpoint",
            "tcp://0.0.0.0:5555",
        ],
        "Clients cannot connect to 'tcp://[::]:5555'": ["keygen", "--data", str(tmp_path), "--endpoint", "tcp://[::]:5555"],
        **{
            f"Clients cannot connect to '{endpoint}'": ["keygen", "--data", str(tmp_path), "--endpoint", endpoint]
            for endpoint in ("", "tcp://a:5/", "tcp://b@a:5", "tcp://a:5?b", "tcp://a:5#b", "tcp://a b:5")
        },
        "-o names the file of a client's own keys": [
            "keygen",
            "--data",
            data,
            "--endpoint",
            "tcp://a:1",
            "-o",
            str(tmp_path / "x"),
        ],
        "--data is the folder of a backend": ["keygen", "--data", data, "--backend", data, "-o", str(tmp_path / "x")],
        "has control characters": ["client", "add", "Bo\x1bb", "--data", data, "-o", str(tmp_path / "x")],
        "There is no folder": ["client", "list", "--data", str(tmp_path / "nowhere")],
        "ann.json may be the file with the secret": ["client", "allow", "Eve", str(tmp_path / "ann.json"), "--data", data],
        "cannot be read (No such file": ["client", "allow", "Eve", str(tmp_path / "none.pub"), "--data", data],
        "Eve' cannot be listed (Expected `str` of length >= 40 - at `$.public_key`): a name has 1 to 128 characters, and": [
            "client",
            "allow",
            "Eve",
            str(tmp_path / "cut.pub"),
            "--data",
            data,
        ],
        "is there already": ["client", "add", "Bob", "--data", data, "-o", str(tmp_path / "manual.pub")],
        f"keygen --data {tmp_path} --endpoint": ["client", "add", "Ann", "--data", str(tmp_path), "-o", str(tmp_path / "x")],
    }.items():
        assert main(command) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert main(["client", "add", "Bob", "--data", data, "-o", str(tmp_path / "manual.pub" / "bob.json")]) == 2
    assert main(["client", "revoke", "Bob", "--data", data]) == 2  # whose file could not be written is not listed


def test_clients_that_are_added_at_the_same_time_are_all_listed(studio: Studio) -> None:
    def join(number: int) -> None:
        add(list_path(studio.data_folder), Listed(name=f"node {number}", public_key=zmq.curve_keypair()[0].decode()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(join, range(16)))
    assert len(read_list(list_path(studio.data_folder)).clients) == 16


def test_what_was_done_about_a_client_is_said(studio: Studio, capsys: Capture) -> None:
    assert client(studio.data_folder, "list") == 0
    told = capsys.readouterr()
    assert not told.out and "nobody is listed in" in told.err
    file = studio.add("Ann")
    assert capsys.readouterr().out.startswith(f"{file}: all that 'Ann' needs")
    assert client(studio.data_folder, "revoke", "Ann") == 0
    assert capsys.readouterr().out == "'Ann' is let in no more\n"


def test_other_addresses_once_somebody_is_listed(studio: Studio, start: Start, connect: Connect) -> None:
    settings = ServeSettings(data_folder=studio.data_folder, ready_file=studio.folder / "r.json", bind="tcp://0.0.0.0:0")
    with pytest.raises(ServeError, match="list clients first"):
        serve(settings, lambda extra: [])  # keys alone are not enough
    ann = studio.add("Ann")
    for bind, words in (("tcp://render.studio:0", "is not in numbers: write"), ("tcp://192.0.2.1:0", "one of this machine's")):
        with pytest.raises(ServeError, match=words):
            serve(msgspec.structs.replace(settings, bind=bind), lambda extra: [])
    studio.open(bind="tcp://0.0.0.0:0")
    assert "clients' files say tcp://render.studio:5555: unless that port is forwarded, serve with" in studio.gateway.log()
    assert read_connection(studio.gateway.ready_file).endpoint.startswith("tcp://127.0.0.1:")
    studio.talk(connect, ann)


class OpenDoor(Door):
    """A build that lets everybody in."""

    def _decide(self, question: list[bytes]) -> list[bytes]:
        return [*question[:2], b"200", b"OK", b"anybody", b""]


class ShutDoor(Door):
    def _decide(self, question: list[bytes]) -> list[bytes]:
        return [*question[:2], b"400", b"no", b"", b""]


@pytest.mark.parametrize(
    ("kind", "words"), [(Door, ""), (OpenDoor, "without a listed key got in"), (ShutDoor, "a listed key was turned away")]
)
def test_the_self_test_finds_a_door_that_is_open_or_shut_and_is_no_news_itself(
    kind: type[Door], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, listed = KeyPair.new(), set[bytes]()
    with zmq.Context() as context:
        door = kind(context)
        socket = door.bind("tcp://127.0.0.1:0", "clients", server, listed, 1000)
        with contextlib.nullcontext() if not words else pytest.raises(ServeError, match=words):
            check_door(context, door, endpoint_of(socket), server.public, listed)
        assert not listed and not door.turned_away and not caplog.records
        if kind is Door:
            assert not knock(context, door, endpoint_of(socket), server.public, KeyPair.new())
            assert door.turned_away == 1 and "without a listed key was turned away" in caplog.text
        socket.close()
        door.close()
