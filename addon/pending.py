"""Jobs whose pictures have not come yet, remembered beyond Blender's end: one small file each."""

from pathlib import Path

from . import images


def remember(job_id: str, picture: Path) -> None:
    """From now on `picture` is where the picture of this job belongs."""
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / job_id).write_text(str(picture), encoding="utf-8")


def forget(job_id: str) -> None:
    """The job has ended, and its picture is here if it has one."""
    (folder() / job_id).unlink(missing_ok=True)


def pending() -> dict[str, Path]:
    """Where the picture of each job belongs, oldest job first."""
    files = sorted(folder().iterdir()) if folder().is_dir() else []
    return {file.name: Path(file.read_text(encoding="utf-8")) for file in files}


def folder() -> Path:
    return images.own_folder() / "pending"
