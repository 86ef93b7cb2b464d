"""The client's commands against a real gateway: what they print, how they exit, and that they survive its end."""

import json
import os
import signal
import socket
import threading
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from beyondscene.addon.connection import Connection
from beyondscene.backend import cli
from beyondscene.backend.cli import backend, main
from beyondscene.backend.gateway.ledger import Ledger
from beyondscene.backend.outputs import Picture, choose_format, make_record, write_picture
from beyondscene.protocol import Accepted, Cancel, Failed, Finished, RenderSettings, Started, Welcome, digest_of, save_request
from msgspec.structs import replace

from .conftest import Connect, Start
from .talk import Running, picture, wait_until

Capture = pytest.CaptureFixture[str]


def ask(gateway: Running, *arguments: object) -> int:
    return main([*map(str, arguments), "--ready-file", str(gateway.ready_file), "--patience", "60"])


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "request.json"
    path.write_bytes(msgspec.json.encode(picture(steps=30)))
    return path


def test_submit_wait_fetch_across_a_kill(
    start: Start, connect: Connect, request_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    gateway = start()
    gateway.connection()
    assert ask(gateway, "submit", request_file, "--seed", 3, "--size", "128x128") == 0
    job_id = capsys.readouterr().out.strip()
    codes: list[int] = []
    waiting = threading.Thread(target=lambda: codes.append(ask(gateway, "wait", job_id)))
    waiting.start()
    gateway.kill()
    gateway = start(gateway)
    waiting.join(60)
    assert codes == [0]

    output = tmp_path / "new folder" / "out.png"
    assert ask(gateway, "fetch", job_id, "-o", output) == 0
    assert ask(gateway, "submit", request_file, "--seed", 3, "--size", "128x128", "--job-id", job_id) == 0
    assert capsys.readouterr().out.strip() == job_id
    assert ask(gateway, "jobs") == 0
    listed = capsys.readouterr().out.split()
    assert [*listed[:3], *listed[5:]] == [job_id, "finished", "100%", "128x128", "a", "plaza"]
    assert abs(datetime.now() - datetime.fromisoformat(" ".join(listed[3:5]))) < timedelta(minutes=10)
    for command in (["jobs"], ["wait", job_id], ["submit", request_file, "--seed", 3, "--size", "128x128", "--job-id", job_id]):
        assert ask(gateway, *command, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["job_id"], told["width"], told.get("state", "finished")) == (job_id, 128, "finished")
    assert [path.name for path in output.parent.iterdir()] == ["out.png"]
    assert ask(gateway, "cancel", job_id) == 2
    assert "has ended before: it is finished" in capsys.readouterr().err
    talk = connect(gateway)
    reference = talk.hear_until(Finished, talk.submit(picture(steps=30, seed=3, side_px=128)))
    assert digest_of(output.read_bytes()) == reference.digest
    gateway.kill()
    kept = Ledger(gateway.data_folder / "ledger.sqlite").results()
    assert [(one.job_id, one.fetched) for one in kept] == [(job_id, True), (reference.job_id, False)]


def test_cancel_and_what_has_no_picture(start: Start, connect: Connect, tmp_path: Path, capsys: Capture) -> None:
    gateway = start()
    talk = connect(gateway)
    running, waiting = talk.submit(picture(steps=999)), talk.submit(picture("boom"))
    talk.hear_until(Started, running)
    assert ask(gateway, "fetch", running, "-o", tmp_path / "out.png") == 2
    assert f"Job {running} has no picture: it is running." in capsys.readouterr().err
    assert ask(gateway, "cancel", running) == 0
    assert ask(gateway, "wait", running) == 3
    assert f"Job {running} was cancelled." in capsys.readouterr().err
    assert ask(gateway, "cancel", running) == 0  # twice is harmless
    assert ask(gateway, "wait", waiting) == 1
    assert "a slip" in capsys.readouterr().err
    assert ask(gateway, "cancel", waiting) == 2
    assert "has ended before: it is failed" in capsys.readouterr().err
    assert ask(gateway, "fetch", "01890a5d-ac96-774b-bcce-b302099a8057", "-o", tmp_path / "out.png") == 2
    assert "knows no job" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_prompt_can_pass_for_no_other_line_of_the_list(start: Start, connect: Connect, capsys: Capture) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture("a \u202eplaza\nforged  finished"))
    talk.hear_until(Accepted, job_id)
    assert ask(gateway, "jobs") == 0
    (line,) = capsys.readouterr().out.splitlines()
    talk.hear_until(Finished, talk.submit(picture()))
    newest = talk.submit(picture())
    talk.hear_until(Finished, newest)
    talk.hear_until(Failed, talk.submit(picture("boom")))
    for choice, count in ((["--limit", "1"], 1), (["--state", "running"], 0), (["--limit", "4"], 4)):
        assert ask(gateway, "jobs", *choice) == 0
        assert len(capsys.readouterr().out.splitlines()) == count
    assert ask(gateway, "jobs", "--state", "finished", "--limit", "1") == 0
    assert capsys.readouterr().out.startswith(newest)
    assert line.startswith(job_id) and line.endswith("a  plaza forged  finished")


def test_a_submit_waits_for_room_in_the_line_for_as_long_as_its_patience(
    start: Start, connect: Connect, request_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "LATER_S", 0.1)
    gateway = start(waiting_jobs=1)
    talk = connect(gateway)
    talk.hear_until(Started, talk.submit(picture(steps=999)))
    waiting = talk.submit(picture())
    talk.hear_until(Accepted, waiting)
    assert main(["submit", str(request_file), "--ready-file", str(gateway.ready_file), "--patience", "0.3"]) == 6
    assert capsys.readouterr().err.count("1 jobs are waiting, which is the limit") == 2  # as it begins to wait, and in the end
    codes: list[int] = []
    submitting = threading.Thread(target=lambda: codes.append(ask(gateway, "submit", request_file)))
    submitting.start()
    submitting.join(1)
    assert not codes
    talk.say(Cancel(job_id=waiting))
    submitting.join(60)
    assert codes == [0] and "It is asked again for 60 s" in capsys.readouterr().err


def test_a_submit_of_frames_says_where_it_stopped(start: Start, connect: Connect, capsys: Capture) -> None:
    pytest.importorskip("bpy")
    gateway = start(waiting_jobs=2)
    talk = connect(gateway)
    talk.hear_until(Started, talk.submit(picture(steps=999)))
    talk.submit(picture())
    scene = Path(__file__).parents[3] / "examples" / "duo.blend"
    command = ["submit", str(scene), "--size", "64x64", "--frames", "1-3", "--ready-file", str(gateway.ready_file)]
    assert main([*command, "--patience", "0.3"]) == 6
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 and "Frame 2 and those after it were not submitted." in said.err


def test_frames_before_one_that_is_refused_are_told_of(start: Start, tmp_path: Path, capsys: Capture) -> None:
    gateway = start()
    for number, settings in ((1, RenderSettings()), (2, RenderSettings(few_steps=True))):
        save_request(tmp_path / f"{number}.json", replace(picture(), settings=settings), {})
    command = ["submit", str(tmp_path / "#.json"), "--frames", "1-2", "-o", str(tmp_path / "#.png")]
    assert main([*command, "--ready-file", str(gateway.ready_file)]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 and "Frame 2 and those after it were not submitted." in said.err
    assert "The backend goes on with what was submitted: `beyondscene fetch ID -o OUT` brings a picture" in said.err


def test_a_submit_of_more_frames_than_may_wait_brings_pictures_meanwhile(
    start: Start, connect: Connect, tmp_path: Path, capsys: Capture
) -> None:
    gateway = start(waiting_jobs=1)
    connect(gateway)
    for frame in (1, 2, 3):
        (tmp_path / f"shot.{frame}.json").write_bytes(msgspec.json.encode(picture(steps=40)))
    command = ["submit", str(tmp_path / "shot.#.json"), "--frames", "1-3", "-o", str(tmp_path / "out.#.png")]
    assert main([*command, "--ready-file", str(gateway.ready_file), "--patience", "0.3"]) == 0
    assert "1 jobs are waiting, which is the limit" in capsys.readouterr().err
    assert all((tmp_path / f"out.{frame}.png").exists() for frame in (1, 2, 3))
    (tmp_path / "out.2.png").unlink()
    assert main([*command, "--ready-file", str(gateway.ready_file), "--skip-existing", "--json", "--priority", "5"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["frame"] for one in told if "frame" in one] == [2] and (tmp_path / "out.2.png").exists()
    gateway.kill()
    submits = [job.submit for job in Ledger(gateway.data_folder / "ledger.sqlite").newest(2)]
    assert [submit and submit.priority for submit in submits] == [0, 5]


def test_submit_waits_and_brings_the_pictures_of_a_gateway_that_is_restarted(
    start: Start, request_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    gateway = start()
    gateway.connection()
    output = tmp_path / "new folder" / "out.exr"
    codes: list[int] = []
    command = "submit", request_file, "-o", output, "--size", "128x128", "--json"
    submitting = threading.Thread(target=lambda: codes.append(ask(gateway, *command)))
    submitting.start()
    told = [""]

    def has_submitted() -> bool:
        told[0] += capsys.readouterr().out
        return told[0].endswith("\n")

    wait_until(has_submitted)
    gateway.kill()
    gateway = start(gateway)
    submitting.join(60)
    assert codes == [0]
    submitted, ended = map(json.loads, (told[0] + capsys.readouterr().out).splitlines())
    assert submitted["width"] == 128
    assert ended == {"job_id": submitted["job_id"], "state": "finished", "output": str(output)}
    assert choose_format(output).read(output) == "{}" and [path.name for path in output.parent.iterdir()] == ["out.exr"]
    assert ask(gateway, *command, "--skip-existing") == 0
    said = capsys.readouterr()
    assert said.out == "" and "nothing to draw" in said.err
    request_file.write_bytes(msgspec.json.encode(picture("boom")))
    assert ask(gateway, "submit", request_file, "-o", tmp_path / "boom" / "out.png", "--json") == 1
    said = capsys.readouterr()
    assert "a slip" in said.err and not (tmp_path / "boom").exists()
    assert json.loads(said.out.splitlines()[-1])["output"] is None


def test_where_submit_could_not_bring_a_picture_nothing_is_submitted(
    start: Start, request_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    gateway = start()
    for arguments, sentence in (
        (["-o", tmp_path / "out.jpg"], "end the name in .png"),
        (["-o", tmp_path / "out.png", "--format", "exr"], "--format exr is not what out.png says: leave it out"),
        (["--skip-existing"], "--skip-existing looks for the pictures that -o names: add -o OUT.png."),
    ):
        assert ask(gateway, "submit", request_file, *arguments) == 2
        assert sentence in capsys.readouterr().err
    assert ask(gateway, "jobs") == 0 and capsys.readouterr().out == ""


def test_a_job_says_its_format_and_no_file_is_named_as_another(
    start: Start, request_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    gateway = start()
    for made, other in (("exr", "png"), ("png", "exr")):
        assert ask(gateway, "submit", request_file, *(["--format", made] if made != "png" else [])) == 0
        job_id = capsys.readouterr().out.strip()
        assert ask(gateway, "wait", job_id) == 0
        assert ask(gateway, "fetch", job_id, "-o", tmp_path / f"out.{other}") == 2
        assert f"which out.{other} is no name for" in capsys.readouterr().err
        assert ask(gateway, "fetch", job_id, "-o", tmp_path / f"out.{made}") == 0
        assert choose_format(tmp_path / f"out.{made}").read(tmp_path / f"out.{made}") == ("{}" if made == "exr" else None)
        assert (gateway.data_folder / "results" / f"{job_id}.{made}").exists()
    assert ask(gateway, "fetch", job_id, "-o", tmp_path / "out.jpg") == 2
    assert "end the name in .png" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("out*")} == {"out.exr", "out.png"}


def test_nobody_there(tmp_path: Path, request_file: Path, capsys: Capture) -> None:
    command = ["submit", str(request_file), "--ready-file", str(tmp_path / "none.json"), "--patience", "0.2"]
    assert main(command) == 4
    assert "none.json: start one" in capsys.readouterr().err


def test_a_key_file_is_named_or_in_the_environment_and_refused_at_once_where_it_is_not_there(
    start: Start, tmp_path: Path, request_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = start()
    gateway.connection()
    typo = tmp_path / "nofile.json"
    with pytest.raises(SystemExit, match="2"):
        main(["submit", str(request_file), "--key-file", str(typo), "--patience", "300"])
    assert f"there is no file {typo}: name the key file that you were given." in capsys.readouterr().err
    monkeypatch.setenv("BEYONDSCENE_KEY_FILE", str(gateway.ready_file))
    assert main(["jobs"]) == 0
    monkeypatch.setenv("BEYONDSCENE_KEY_FILE", str(typo))
    with pytest.raises(SystemExit, match="2"):
        main(["jobs"])
    assert f"there is no file {typo}" in capsys.readouterr().err
    assert ask(gateway, "jobs") == 0  # what is named goes before the environment


def test_what_asks_a_command_to_end_while_it_is_imported_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "import_module", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["jobs"]) == 130


def test_a_broken_transfer_goes_on_where_it_ended(
    start: Start, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = start()
    talk = connect(gateway)
    finished = talk.hear_until(Finished, talk.submit(picture(steps=2, side_px=1024)))
    data = talk.fetch(finished)
    (tmp_path / f"out.png.{finished.digest[:8]}.part").write_bytes(data[: len(data) // 2])
    from beyondscene.protocol.client import Transfer

    taken: list[int] = []
    take = Transfer.take
    monkeypatch.setattr(Transfer, "take", lambda self, chunk, payload: taken.append(chunk.offset) or take(self, chunk, payload))
    assert ask(gateway, "fetch", finished.job_id, "-o", tmp_path / "out.png") == 0
    assert (tmp_path / "out.png").read_bytes() == data
    assert min(taken) == len(data) // 2
    assert [path.name for path in tmp_path.glob("out*")] == ["out.png"]


def test_a_picture_is_made_again_with_its_own_models_unless_others_are_named(
    start: Start, tmp_path: Path, capsys: Capture
) -> None:
    gateway = start()
    made = tmp_path / "made.png"
    write_picture(made, Picture(np.zeros((64, 64, 3), np.uint8)), make_record(picture(), {}, "half", {}, ""))
    assert ask(gateway, "submit", "--from-image", made) == 2
    assert "On the backend's machine: The model set 'half' lacks its controlnet model" in capsys.readouterr().err
    assert ask(gateway, "submit", "--from-image", made, "--models", "embedded") == 0
    folder = tmp_path / "a folder"
    folder.mkdir()
    manifest = {"name": "half", "training_resolution_px": 64, "pose_line_width_px": 2, "roles": {}}
    (folder / "modelset.json").write_text(json.dumps(manifest))
    assert ask(gateway, "submit", "--from-image", made, "--models", folder) == 2  # by the name that it has there
    assert "The model set 'half' lacks" in capsys.readouterr().err


def test_an_ipv6_address(start: Start, capsys: Capture) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    gateway = start(bind="tcp://[::1]:0")
    found = gateway.connection()
    assert found.endpoint.startswith("tcp://[::1]:")
    assert ask(gateway, "jobs") == 0
    talk = Connection(lambda: found, "blender")
    try:
        wait_until(lambda: (heard := talk.hear()) and isinstance(heard[0], Welcome))
    finally:
        talk.close()
