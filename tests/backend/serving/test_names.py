"""Names that come from outside are labels: whatever they say, no file outside its folder is looked at or written."""

import uuid
from pathlib import Path

import msgspec
import pytest
from beyondscene.backend.gateway.files import JobFiles, picture_in
from beyondscene.backend.models.loras import find_lora
from beyondscene.backend.models.sets import ModelSetError
from beyondscene.protocol import JobDone, Lora, Subscribe
from hypothesis import example, given, settings
from hypothesis import strategies as st

NASTY = (
    "../secret", "..", ".", "/etc/passwd", "C:\\secret", "C:secret", "\\\\host\\share", "a/../../secret", "secret\0", "CON",
    "NUL.txt", "secret.", "secret ", "\u202esecret", "a" * 300, "secret\n", "~", "$HOME", "%TEMP%", "secret:stream", "",
    "\u2215etc", "\uff0e\uff0e\uff0fsecret",
)  # fmt: skip
PARTS = st.sampled_from(["..", ".", "/", "\\", "secret", ":", "\0", "\n", "\u202e", "~", "C:", " ", "a"])
NAMES = st.text(max_size=40) | st.lists(PARTS, max_size=8).map("".join) | st.sampled_from(NASTY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of LoRAs, one of which is a way out; beside it lies what nobody may reach."""
    root = tmp_path_factory.mktemp("root")
    (root / "secret.safetensors").write_bytes(b"")
    (root / "loras").mkdir()
    (root / "loras" / "open.safetensors").write_bytes(b"")
    return root / "loras"


@settings(max_examples=300, deadline=None)
@given(name=NAMES)
@example(name="../secret")
def test_a_lora_is_found_in_its_folder_or_not_at_all(folder: Path, name: str) -> None:
    try:
        lora = msgspec.convert({"name": name}, Lora)
    except msgspec.ValidationError:
        return
    try:
        found = find_lora(lora.name, [folder])
    except (ModelSetError, OSError):  # OSError: a name that is too long
        return
    assert found.resolve().parent == folder.resolve()


@settings(max_examples=300, deadline=None)
@given(name=NAMES)
def test_only_a_uuid_names_the_files_of_a_job(name: str) -> None:
    good = str(uuid.uuid4())
    for bad in (name, good + "\n", f"{name or 'x'}{good}", f"{good}{name or 'x'}", f"{{{good}}}", good.replace("-", "")):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"type": "Subscribe", "job_id": bad}, Subscribe)


def test_a_link_in_the_folder_of_results_is_replaced_not_followed(tmp_path: Path) -> None:
    files, job_id = JobFiles(tmp_path / "data"), str(uuid.uuid4())
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    files.path(job_id).symlink_to(outside)
    picture_in(files.begin(job_id, 1)).write_bytes(b"picture")
    facts = {"width": 8, "height": 8, "media_type": "image/png", "digest": "0" * 64}
    files.publish(JobDone(job_id=job_id, attempt=1, size_bytes=7, **facts))
    assert outside.read_bytes() == b"precious"
    assert files.read(job_id, 0, 10) == b"picture" and not files.path(job_id).is_symlink()
