"""Files are whole or absent, whoever else writes them and whatever goes wrong."""

import errno
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from beyondscene.backend.gateway.files import JobFiles, picture_in
from beyondscene.protocol import ConnectionFile, JobDone, read_connection, whole, write_connection
from beyondscene.protocol.transfer import move_beside
from beyondscene.protocol.whole import flush_folder, whole_file


def test_two_who_write_the_same_file_do_not_write_into_each_others(tmp_path: Path) -> None:
    path = tmp_path / "shot.png"
    with whole_file(path) as first:
        first.write_bytes(b"all of the first")
        with whole_file(path) as second:
            second.write_bytes(b"the second")
        assert path.read_bytes() == b"the second"
    assert path.read_bytes() == b"all of the first" and list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text("an hour's work")
    with pytest.raises(OSError, match="No space"), whole_file(path) as partial:
        partial.write_text("half of")
        raise OSError("No space left on device")
    assert path.read_text() == "an hour's work" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_has_the_name_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "request.json"
    with pytest.raises(OSError, match=r"nowhere.request\.json'$"), whole_file(path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no folder is flushed")
def test_a_file_system_that_flushes_no_folders_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = errno.EINVAL  # as VirtualBox' shared folders say

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    flush_folder(tmp_path)
    number = errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        flush_folder(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="links and modes as POSIX has them")
def test_a_link_stays_and_a_secret_is_its_owners(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    link = tmp_path / "latest.png"
    link.symlink_to("versions/7.png")
    with whole_file(link, 0o600) as partial:
        assert partial.stat().st_mode & 0o777 == 0o600
        partial.write_bytes(b"seven")
    assert link.is_symlink() and (tmp_path / "versions" / "7.png").read_bytes() == b"seven"


def test_what_somebody_else_has_open_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows a virus scanner has what was just written, which can be renamed then as little as the folder around it."""
    files, job_id, key = JobFiles(tmp_path), str(uuid.uuid4()), "0" * 40
    held: dict[str, int] = {"replace": 0, "read_bytes": 0}

    def holding(name: str) -> Any:
        real = getattr(Path, name)

        def refuse_twice(self: Path, *arguments: Any) -> Any:
            held[name] += 1
            if held[name] % 3:
                raise PermissionError(13, "it is being used by another process", str(self))
            return real(self, *arguments)

        return refuse_twice

    def do_all() -> None:
        write_connection(tmp_path / "connection.json", connection)
        assert read_connection(tmp_path / "connection.json") == connection
        (tmp_path / "come.part").touch()
        assert move_beside(tmp_path / "come.part", tmp_path / "come.png").exists()
        files.begin(job_id, 1)
        picture_in(files.begin(job_id, 2)).write_bytes(b"picture")
        files.publish(JobDone(job_id=job_id, attempt=2, width=8, height=8, media_type="", size_bytes=7, digest="0" * 64))

    connection = ConnectionFile(
        endpoint="tcp://127.0.0.1:5555", server_public_key=key, client_public_key=key, client_secret_key=key
    )
    for name in held:
        monkeypatch.setattr(Path, name, holding(name))
    with pytest.raises(PermissionError):  # what may not be done elsewhere is not tried again
        do_all()
    held["replace"] = 0
    monkeypatch.setattr(whole, "PATIENCE_S", 5.0)
    do_all()
    assert held == {"replace": 4 * 3, "read_bytes": 3}
