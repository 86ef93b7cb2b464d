"""Finished pictures: where their files go, and how they become Image datablocks."""

import errno
import io
import os
import re
import secrets
import struct
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import bpy
import numpy as np

from .. import __package__ as base_package
from ..protocol import PictureFormat
from ..protocol.record_text import exr_size

NAME = "BeyondScene "
PREVIEW = ".BeyondScene Preview"  # the dot keeps it out of menus: one chosen there that is gone by then would crash Blender
MARK = "beyondscene_picture"  # property of our Image datablocks, which may be renamed; older files tell them by NAME alone
# As OCIO configs call it: Blender's own, then those of ACES, newest last.
LINEAR = ("Linear Rec.709", "Utility - Linear - Rec.709", "Linear Rec.709 (sRGB)")
SRGB = ("sRGB", "Utility - sRGB - Texture", "sRGB - Texture", "sRGB Encoded Rec.709 (sRGB)")
# by suffix, what Blender reads with its record of those that a backend writes
FORMATS: dict[str, PictureFormat] = {".png": "png", ".exr": "exr"}
LONGEST_FRAMES = 100_000  # of a sequence; Blender stops at the last file by itself


class PictureRef(NamedTuple):
    """An Image datablock, or none: by its session_uid, and by its name in case an undo made it anew.

    remarks: what of it is not as it was asked for, a sentence each.
    """

    name: str = ""
    uid: int = 0
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, image: bpy.types.Image, remarks: tuple[str, ...] = ()) -> "PictureRef":
        return cls(image.name, image.session_uid, remarks)

    def find(self) -> bpy.types.Image | None:
        same = (one for one in bpy.data.images if one.session_uid == self.uid)
        return next(same, None) or bpy.data.images.get(self.name)  # a library may have another of that name


def next_paths(folder: str, suffix: str, count: int = 1, promised: Iterable[Path] = ()) -> list[Path]:
    """File names that are free: <name of the .blend> <number><suffix> in `folder`, which exists when this returns.

    folder: may be relative to the .blend ('//'); see meant_folder. suffix: one of FORMATS; a number is given once for all.
    promised: names of pictures that are still on their way. Raises OSError where the folder cannot be made or written
        to, or such a name is too long.
    """
    place = output_place(folder)
    stem = blend_name()
    taken = re.compile(rf"{re.escape(stem)} (\d+)({'|'.join(map(re.escape, FORMATS))})(\.\w+\.part)?")
    names = [one.name for one in (*place.iterdir(), *promised)]
    last = max((int(match[1]) for name in names if (match := taken.fullmatch(name))), default=0)
    paths = [place / f"{stem} {number:04d}{suffix}" for number in range(last + 1, last + 1 + count)]
    try_to_write(paths[-1])
    return paths


def next_sequence(folder: str) -> Path:
    """A new folder for the frames of an animation, in `folder`. Raises OSError where there can be none."""
    sequence = next_free(folder, "animation")
    sequence.mkdir()
    return sequence


def next_free(folder: str, what: str, suffix: str = "") -> Path:
    """The first <name of the .blend> <what> <number><suffix> in `folder` that is not there. Raises OSError likewise."""
    place, number = output_place(folder), 1
    while (path := place / f"{blend_name()} {what} {number:04d}{suffix}").exists():
        number += 1
    return path


def sequence_of(path: Path) -> str:
    """Name of the animation that the file is a frame of; empty where it is none."""
    return path.parent.name if path.stem.isdecimal() and re.fullmatch(r".+ animation \d{4}", path.parent.name) else ""


def first_file(path: Path) -> Path:
    """The file by which an Image datablock knows the picture: of an animation the first frame that is there."""
    return next(iter(frames_beside(path)), path) if sequence_of(path) else path


def files_of(image: bpy.types.Image) -> list[Path]:
    """Of an animation all frames that are there."""
    path = path_of(image)
    return frames_beside(path) if sequence_of(path) else [path]


def frames_beside(path: Path) -> list[Path]:
    """The frames of the animation that `path` is one of which are there, in their order; their folder may hold other files."""
    frames = (one for one in path.parent.glob(f"*{path.suffix}") if one.stem.isdecimal())
    return sorted(frames, key=lambda frame: (len(frame.name), frame.name))  # 10000 after 9999


def blend_name() -> str:
    return Path(bpy.data.filepath).stem or "untitled"


def output_place(folder: str) -> Path:
    """The folder that is meant, which exists when this returns. Raises OSError where it cannot be made or written to, or where
    its path or that of the .blend is not UTF-8: Blender takes no such names from Python.
    """
    place = meant_folder(folder)
    try:
        f"{place} {bpy.data.filepath}".encode()
    except UnicodeEncodeError as error:  # as of an archive from Windows that was unpacked on Linux
        raise OSError(errno.EILSEQ, "not UTF-8") from error
    place.mkdir(parents=True, exist_ok=True)
    try_to_write(place / "0001.png")
    return place


def try_to_write(path: Path) -> None:
    """Raise OSError where no picture can come to `path`: better now than when it is there. It comes by a longer name."""
    probe = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    probe.touch()
    probe.unlink()


def meant_folder(folder: str) -> Path:
    """As an absolute path; where there is no folder, or no .blend that it could be relative to, one in the kept folder."""
    if not folder or (folder.startswith("//") and not bpy.data.filepath):
        return kept_folder() / "renders"
    return expand(folder).absolute()


def tells_place(folder: str) -> bool:
    """Whether one sees of it where it is: else it is relative to wherever Blender was started."""
    return folder.startswith(("//", "~")) or Path(folder).is_absolute()


def expand(path: str) -> Path:
    """'//' is the folder of the .blend, '~' that of the user."""
    expanded = Path(bpy.path.abspath(path))
    with suppress(RuntimeError):  # of a user whom nobody knows, it is a name as any
        expanded = expanded.expanduser()
    return expanded


def kept_folder() -> Path:
    """For what an artist wants to keep: an uninstall leaves it alone. It need not be there yet."""
    return Path(bpy.utils.user_resource("DATAFILES", path="beyondscene"))


def own_folder() -> Path:
    """A folder that this extension may write to, which Blender deletes when it is uninstalled."""
    try:
        return Path(bpy.utils.extension_path_user(base_package, create=True))
    except ValueError:  # not installed as an extension, as in the bpy wheel
        return Path(tempfile.gettempdir()) / "beyondscene"


def add_image(path: Path) -> bpy.types.Image:
    """The file as an Image datablock that survives saving, the one there is or a new one; of a frame: the whole animation, as
    far as it is there.

    Raises RuntimeError where Blender cannot read it.
    """
    sequence = sequence_of(path)
    if known := known_picture(path):
        if not known.is_dirty:  # what an artist has painted on it
            known.reload()  # Blender remembers of which frames it found no file
        return known
    image = bpy.data.images.load(str(first_file(path)), check_existing=False)
    image.name = NAME + (sequence or path.stem)
    image[MARK] = True
    if sequence:
        image.source = "SEQUENCE"
    image.use_fake_user = True
    tell_colours(image.colorspace_settings, path)
    tell_place(image)
    return image


def tell_place(image: bpy.types.Image) -> None:
    """Where its file is beside the .blend or below, its path is relative, so that both can be moved together."""
    if bpy.data.filepath and Path(image.filepath).is_relative_to(Path(bpy.data.filepath).parent):
        image.filepath = bpy.path.relpath(image.filepath)


def from_array(name: str, array: np.ndarray) -> bpy.types.Image:
    """A new Image datablock, packed, of uint8 (h, w, 3) in sRGB."""
    height, width = array.shape[:2]
    image = bpy.data.images.new(name, width, height)
    fill(image, array / 255)
    image.pack()
    return image


def fill(image: bpy.types.Image, picture: np.ndarray) -> None:
    """Put `picture`, (height, width, 3) with row 0 at the top, 0 to 1, into an image of its size."""
    pixels = np.ones((*picture.shape[:2], 4), np.float32)
    pixels[..., :3] = picture[::-1]  # Blender's begin at the bottom
    image.pixels.foreach_set(pixels.ravel())


def known_picture(path: Path) -> bpy.types.Image | None:
    """The one of this file, or of its animation: by name there may be another, and Blender cuts long names."""
    place = place_of(path)
    return next((one for one in finished_pictures() if same_file(place_of(path_of(one)), place)), None)


def place_of(path: Path) -> str:
    """What a picture is known by: its file, or that of any frame of an animation, which may be there in both formats."""
    return str(path.with_stem("0") if sequence_of(path) else path)


def tell_colours(settings: bpy.types.ColorManagedInputColorspaceSettings, path: Path) -> None:
    """What they are of is the picture at `path`, whatever the OCIO config calls its colours; one that has no such space decides
    for itself."""
    known = settings.bl_rna.properties["name"].enum_items
    name = next((one for one in (LINEAR if is_exr(path) else SRGB) if one in known), None)
    if name:
        settings.name = name


def finished_pictures() -> list[bpy.types.Image]:
    """Oldest first."""
    return sorted((one for one in bpy.data.images if is_ours(one)), key=lambda one: one.name)


def is_ours(image: bpy.types.Image) -> bool:
    """Whether it is a finished picture of the add-on, whatever the artist calls it."""
    return MARK in image or (image.name.startswith(NAME) and image.name != PREVIEW[1:])  # in an older file


def size_of(image: bpy.types.Image) -> tuple[int, int]:
    """Width and height in px; 0 and 0 of a file that is damaged.

    Also of a sequence of which no frame was shown, and of a file with layers: Blender tells none.
    """
    if is_exr(path := path_of(image)):
        with io.BytesIO(image.packed_file.data) if image.packed_file else path.open("rb") as file:
            try:
                return exr_size(file)
            except (ValueError, struct.error):
                return 0, 0
    if image.source != "SEQUENCE":
        return image.size[0], image.size[1]
    first = bpy.data.images.load(str(path_of(image)))
    try:
        return first.size[0], first.size[1]
    finally:
        bpy.data.images.remove(first)


def format_of(path: Path) -> PictureFormat:
    """By its suffix: files of other programs may be called .EXR."""
    return FORMATS.get(path.suffix.lower(), "png")


def is_exr(path: Path) -> bool:
    return path.suffix.lower() == ".exr"


def follow_frames(user: Any, image: bpy.types.Image) -> None:
    """Whatever shows `image` by way of `user`, an ImageUser or a node, shows of an animation the frame that the scene is at.

    What is new counts a sequence from frame 1 or 0, and an Image Editor for 100 frames, after which it stays.
    """
    if image.source == "SEQUENCE":
        user.frame_start, user.frame_offset, user.frame_duration, user.use_auto_refresh = 1, 0, LONGEST_FRAMES, True


def path_of(image: bpy.types.Image) -> Path:
    """Of its file, absolute. That of an image of a library is relative to the library."""
    return Path(bpy.path.abspath(image.filepath, library=image.library))


def has_pixels(image: bpy.types.Image) -> bool:
    """Whether there is something to show: its file, or what was packed of it."""
    return image.packed_file is not None or path_of(image).exists()


def say_gone(image: bpy.types.Image) -> str:
    return f"Its file {path_of(image)} is gone: render it again, or put the file back."


def add_missing(paths: Iterable[Path]) -> None:
    """Those of `paths` that are files and no Image datablock yet become one. Raises RuntimeError where one is no picture."""
    here = {path_of(image) for image in bpy.data.images}
    for path in paths:
        if path not in here and path.exists():
            add_image(path)


def same_file(one: str, other: str) -> bool:
    """Whether two paths, absolute as Blender has them, name the same file, also by way of a link."""
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def is_open(blend: str) -> bool:
    """Whether pictures for `blend` belong in the file that is open; those of a file that was never saved belong in any."""
    return not blend or (bool(bpy.data.filepath) and same_file(blend, bpy.data.filepath))
