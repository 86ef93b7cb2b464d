"""Picture files, read back with other programs' readers: pixels, masks, and what they say about their making."""

import dataclasses
import errno
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from beyondscene.backend import outputs
from beyondscene.backend.outputs import Layer, Picture, Record, make_record, png, read_record, restore_request, write_picture
from beyondscene.protocol import Backdrop, RenderRequest, WireError, describe_array
from beyondscene.protocol.messages import FRAME_LIMIT_BYTES
from beyondscene.protocol.record import RecordError, decode_record
from beyondscene.protocol.record_text import PNG_SIGNATURE, find_text
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SUFFIXES = [suffix[1:] for suffix in outputs.FORMATS]
DIGITAL_SOURCE = b"DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia<"


@pytest.fixture
def picture() -> Picture:
    """300x200, smooth with noise in it; Bo, near, on the right half of Ana's middle."""
    ramp = np.linspace(0, 200, 300, dtype=np.float32)[None, :, None] + np.zeros((200, 1, 3), np.float32)
    image = (ramp + np.random.default_rng(0).integers(0, 55, (200, 300, 3))).astype(np.uint8)
    ana, bo = np.zeros((2, 20, 30), bool)
    ana[5:15, 5:15] = True
    bo[5:15, 15:25] = True
    return Picture(image, (Layer("bo.001", bo), Layer("änä", ana)))


@pytest.fixture
def record(two_people: RenderRequest) -> Record:
    request = replace(two_people, prompt="広場 with “quotes” & <tags>")
    return make_record(request, {}, "tiny", {"base/unet/model.safetensors": "ab"}, "beyondscene 1")


def read_pixels(path: Path) -> np.ndarray:
    """uint8 (H, W, 3), by OpenCV, which shares no code with what wrote the file."""
    script = "import cv2, numpy, sys; numpy.save(sys.argv[2], cv2.imread(sys.argv[1], cv2.IMREAD_UNCHANGED))"
    saved = path.with_suffix(".npy")
    environment = os.environ | {"OPENCV_IO_ENABLE_OPENEXR": "1"}
    subprocess.run([sys.executable, "-c", script, str(path), str(saved)], check=True, env=environment)
    pixels = np.load(saved)[..., :3]
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def to_srgb(light: np.ndarray) -> np.ndarray:
    light = light.astype(np.float64)
    code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055)
    return (code * 255).round().astype(np.uint8)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pixels_come_back(picture: Picture, record: Record, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    write_picture(path, picture, record)
    pixels = read_pixels(path)
    assert ((pixels if pixels.dtype == np.uint8 else to_srgb(pixels)) == picture.image).all()
    if suffix != "exr":
        with Image.open(path) as opened:
            assert (np.asarray(opened) == picture.image).all()
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ".npy"] == [path.name]  # no temporary file is left


def test_an_exr_holds_tones_between_those_of_eight_bits(picture: Picture, record: Record, tmp_path: Path) -> None:
    ramp = np.linspace(0.25, 0.75, 2048) * 65535
    image = np.repeat(ramp.round().astype(np.uint16)[None, :, None], 3, axis=2)
    write_picture(tmp_path / "out.exr", Picture(image), record)
    light = read_pixels(tmp_path / "out.exr")
    assert len(np.unique(light)) > 1000  # 8 bits have 128 there
    assert abs(to_srgb(light) - image / 257).max() < 0.6


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_record_comes_back_and_the_source_type_is_said(
    picture: Picture, record: Record, two_people: RenderRequest, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out.{suffix}"
    write_picture(path, picture, record)
    again = read_record(path)
    assert (again.models, again.weights, again.made_with) == (record.models, record.weights, record.made_with)
    assert restore_request(again) == (replace(two_people, prompt="広場 with “quotes” & <tags>"), {})
    assert DIGITAL_SOURCE in path.read_bytes()


def test_the_file_is_the_same_for_any_number_of_threads(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).integers(0, 9, (130, 300, 3), np.uint8)
    monkeypatch.setattr(png, "BAND_BYTES", 32 * 900)  # five bands, the last one short
    files = []
    for cores in (1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        write_picture(tmp_path / "out.png", Picture(image), record)
        files.append((tmp_path / "out.png").read_bytes())
    assert files[0] == files[1] and (read_pixels(tmp_path / "out.png") == image).all()


def test_the_record_stands_where_other_programs_look(picture: Picture, record: Record, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        write_picture(tmp_path / f"out.{suffix}", picture, record)
    with Image.open(tmp_path / "out.png") as opened:
        assert '"models": "tiny"' in opened.info["beyondscene"] and "srgb" in opened.info
        assert DIGITAL_SOURCE.decode() in opened.info["XML:com.adobe.xmp"]
        deflated = PngInfo()
        deflated.add_itxt("beyondscene", opened.info["beyondscene"], zip=True)
        opened.save(tmp_path / "again.png", pnginfo=deflated)
    assert read_record(tmp_path / "again.png") == read_record(tmp_path / "out.png")
    with Image.open(tmp_path / "out.tif") as opened:
        tags = opened.tag_v2  # type: ignore[attr-defined]
        assert '"models": "tiny"' in tags[270] and DIGITAL_SOURCE in bytes(tags[700])
    header = OpenEXR.File(str(tmp_path / "out.exr"), header_only=True).header()
    assert '"models": "tiny"' in header["beyondscene"] and DIGITAL_SOURCE.decode() in header["xmp"]
    assert header["colorInteropID"] == "lin_rec709_scene"


def test_tiff_is_tiled_and_deflated(picture: Picture, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "out.tif", picture, record)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages.first.is_tiled and file.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert not file.is_bigtiff
    monkeypatch.setattr(outputs.choose_format(Path("out.tif")), "CLASSIC_LIMIT_BYTES", 1000)
    write_picture(tmp_path / "big.tif", picture, record)
    with tifffile.TiffFile(tmp_path / "big.tif") as file:
        assert file.is_bigtiff and (file.asarray() == picture.image).all()


def test_exr_holds_the_people_as_layers_near_to_far(picture: Picture, record: Record, tmp_path: Path) -> None:
    write_picture(tmp_path / "out.exr", picture, record)
    file = OpenEXR.File(str(tmp_path / "out.exr"), separate_channels=True)
    channels = file.channels()
    names = sorted(set(channels) - set("RGB"))
    assert names == ["depth_order.Z", "person_001_bo_001.A", "person_002__n_.A"]
    order, near, far = (channels[name].pixels for name in names)
    assert near.dtype == np.float16 and near.shape == (200, 300)
    # a mask of a tenth of the size: 1 inside, 0 outside, half way at the border between the two, never more than one person
    assert near[100, 200] == 1 and far[100, 200] == 0 and far[100, 100] == 1 and far[100, 20] == 0
    assert abs(float(near[100, 150]) - 0.55) < 0.01 and (near + far).max() <= 1
    assert (order[100, 200], order[100, 100], order[100, 20]) == (1, 2, 0) and set(np.unique(order)) == {0, 1, 2}
    expected = cv2.resize(picture.layers[0].mask.astype(np.float32), (300, 200), interpolation=cv2.INTER_LINEAR)
    assert np.abs(near - expected).max() < 1e-3


def test_blender_shows_the_picture_of_an_exr_and_its_people(picture: Picture, record: Record, tmp_path: Path) -> None:
    bpy: Any = pytest.importorskip("bpy")
    layers = (*picture.layers, Layer("x" * 300, picture.layers[0].mask))
    write_picture(tmp_path / "out.exr", dataclasses.replace(picture, layers=layers), record)
    node = bpy.data.node_groups.new("compositing", "CompositorNodeTree").nodes.new("CompositorNodeImage")
    node.image = bpy.data.images.load(str(tmp_path / "out.exr"))
    people = ["person_001_bo_001", "person_002__n_", "person_003_" + "x" * 40]
    shown = [socket.name for socket in node.outputs if socket.name != "Alpha"]  # which Blender before 5.1 adds
    assert shown == ["Combined", "depth_order", *people]


def test_an_exr_that_finds_no_room_says_so_as_others_do(
    picture: Picture, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library has words alone for it; a backend pauses such jobs by their number."""
    number = errno.ENOSPC

    def fill(*given: object) -> None:
        raise OSError(f"Error writing pixel data. {os.strerror(number)}.")

    monkeypatch.setattr(outputs.choose_format(Path("out.exr")), "write_bands", fill)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(OSError) as caught:
            write_picture(tmp_path / "out.exr", picture, record)
        assert caught.value.errno == number and not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_large_picture_is_not_copied_whole(record: Record, tmp_path: Path, suffix: str) -> None:
    image = np.broadcast_to(np.arange(4096, dtype=np.uint8)[:, None, None], (4096, 2048, 3)).copy()
    outputs.choose_format(Path(f"out.{suffix}"))  # what the libraries hold themselves does not count
    tracemalloc.start()
    try:
        write_picture(tmp_path / f"out.{suffix}", Picture(image), record)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes / 2


def test_a_failed_write_leaves_what_was_there(picture: Picture, record: Record, tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"before")
    with pytest.raises(ValueError):
        write_picture(path, replace_image(picture, np.zeros((4, 4), np.uint8)), record)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def replace_image(picture: Picture, image: np.ndarray) -> Picture:
    return Picture(image, picture.layers)


def test_masks_and_a_backdrop_travel_in_the_record(picture: Picture, two_people: RenderRequest, tmp_path: Path) -> None:
    mask = np.zeros((128, 192), np.uint8)
    mask[20:100, 50:90] = 255
    reference = describe_array(mask)
    characters = (replace(two_people.characters[0], mask=reference), two_people.characters[1])
    place = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    backdrop = Backdrop(image=describe_array(place), strength=0.3)
    request = replace(two_people, characters=characters)
    path = tmp_path / "out.png"
    both = {reference.digest: mask, backdrop.image.digest: place}
    write_picture(path, picture, make_record(replace(request, backdrop=backdrop), both, "tiny", {}, ""))
    again, arrays = restore_request(read_record(path))
    assert again == replace(request, backdrop=backdrop)
    assert (arrays[reference.digest] == mask).all() and (arrays[backdrop.image.digest] == place).all()
    write_picture(tmp_path / "out.tif", picture, make_record(request, {reference.digest: mask}, "tiny", {}, ""))
    assert (tifffile.imread(tmp_path / "out.tif") == picture.image).all()  # which looks for a "shape" of its own in the record
    assert restore_request(read_record(tmp_path / "out.tif"))[0] == request
    write_picture(path, picture, make_record(request, {}, "tiny", {}, ""))
    with pytest.raises(WireError, match="The mask of 'Ana' is not in the picture"):
        restore_request(read_record(path))
    bomb = replace(read_record(path), arrays={reference.digest: zlib.compress(bytes(2**24))})
    with pytest.raises(WireError, match="was damaged"):  # by what is announced, and no more was unpacked
        restore_request(bomb)
    cut = mask[:, :128]
    ana = replace(characters[0], mask=describe_array(cut))
    square = make_record(replace(request, characters=(ana, characters[1])), {describe_array(cut).digest: cut}, "tiny", {}, "")
    with pytest.raises(WireError, match=r"The mask of 'Ana' has shape \(128, 128\)"):
        restore_request(square)


def test_weights_differ_where_one_side_lacks_a_file(two_people: RenderRequest) -> None:
    record = make_record(two_people, {}, "tiny", {"gone": "1", "same": "2", "other": "3"}, "")
    assert outputs.weights_that_differ(record, {"same": "2", "other": "4", "new": "5"}) == ["gone", "new", "other"]


def test_a_record_of_the_largest_array_is_found_though_nothing_makes_that_smaller() -> None:
    text = b"beyondscene\0\0\0\0\0" + b"A" * (4 * FRAME_LIMIT_BYTES // 3 + 2**20)  # in base64, with the request
    chunk = b"iTXt" + text
    found = find_text(io.BytesIO(PNG_SIGNATURE + struct.pack(">I", len(text)) + chunk + struct.pack(">I", zlib.crc32(chunk))))
    assert found is not None and len(found) == len(text) - 16


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_of_other_programs_are_refused(picture: Picture, record: Record, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"other.{suffix}"
    if suffix == "exr":
        half = {"RGB": picture.image.astype(np.float16)}
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, half).write(str(path))
    else:
        Image.fromarray(picture.image).save(path)
    with pytest.raises(ValueError, match="does not say how it was made"):
        read_record(path)
    path.write_bytes(b"no picture at all")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        read_record(path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_record(tmp_path / f"none.{suffix}")


def test_a_png_with_a_damaged_record_is_not_repeated_as_another(picture: Picture, record: Record, tmp_path: Path) -> None:
    write_picture(path := tmp_path / "out.png", picture, record)
    path.write_bytes(path.read_bytes().replace(b'"seed": 7', b'"seed": 6'))
    with pytest.raises(RecordError, match=r"out\.png cannot be read as a picture \(its record is damaged or cut off\)"):
        read_record(path)


def test_an_exr_that_was_given_a_thumbnail_still_says_how_it_was_made(picture: Picture, record: Record, tmp_path: Path) -> None:
    path = tmp_path / "out.exr"
    write_picture(path, picture, record)
    before, written = read_record(path), path.read_bytes()
    thumbnail = struct.pack("<III", 12, 1, 1) + bytes(4)  # size of the attribute, then one pixel of width and height 1
    path.write_bytes(written[:8] + b"preview\0preview\0" + thumbnail + written[8:])
    assert read_record(path) == before
    path.write_bytes(written[:200])
    with pytest.raises(ValueError, match="its header is damaged or cut off"):
        read_record(path)


def test_a_record_that_no_depth_of_calls_can_read_is_not_understood(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"forged\.png says how it was made in a way that is not understood here"):
        decode_record('{"models": "tiny", "request": ' + "[" * 100_000 + "]" * 100_000 + "}", tmp_path / "forged.png")


def test_a_tiff_that_was_cut_off_is_refused_in_one_sentence(picture: Picture, record: Record, tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    write_picture(path, picture, record)
    path.write_bytes(path.read_bytes()[:1000])
    command = [sys.executable, "-m", "beyondscene.backend", "check", "--from-image", str(path)]
    told = subprocess.run(command, capture_output=True, text=True).stderr
    assert told.startswith(f"beyondscene: {path} does not say how it was made") and told.count("\n") == 1
