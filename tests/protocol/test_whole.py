"""Files are whole or absent, whoever else writes them and whatever goes wrong."""

import os
from pathlib import Path

import pytest
from beyondscene.protocol.whole import whole_file


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


@pytest.mark.skipif(os.name != "posix", reason="links and modes as POSIX has them")
def test_a_link_stays_and_a_secret_is_its_owners(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    link = tmp_path / "latest.png"
    link.symlink_to("versions/7.png")
    with whole_file(link, 0o600) as partial:
        assert partial.stat().st_mode & 0o777 == 0o600
        partial.write_bytes(b"seven")
    assert link.is_symlink() and (tmp_path / "versions" / "7.png").read_bytes() == b"seven"
