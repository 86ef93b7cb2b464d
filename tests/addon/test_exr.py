"""Pictures as OpenEXR: more than 8 bits, and people as layers, in the gallery, in an animation and in every place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import editors, images, session
from beyondscene.addon.destinations import DESTINATIONS
from beyondscene.backend.outputs import Layer, Picture, make_record, read_record, write_picture
from beyondscene.protocol import RenderRequest, Submit
from beyondscene.protocol.record import RecordError
from beyondscene.protocol.record import read_record as read_in_blender
from msgspec.structs import replace

from .conftest import chosen

Example = Callable[[str], dict[str, Any]]


def write_exr(path: Path, request: RenderRequest, arrays: dict[str, np.ndarray]) -> None:
    """As the backend does: dark on the left, Eve in its upper half and Flo in its lower one."""
    image = np.full((64, 96, 3), 60000, np.uint16)
    image[:, :48] = 1000
    upper, lower = np.zeros((2, 64, 96), bool)
    upper[:32, :48], lower[32:, :48] = True, True
    layers = (Layer("Eve", upper), Layer("Flo", lower))
    write_picture(path, Picture(image, layers), make_record(request, arrays, "tiny", {}, "a test"))


@pytest.fixture
def made(blender: Any, example: Example, tmp_path: Path) -> Any:
    """The scene duo with an OpenEXR of it: 96x64, from seed 11."""
    from beyondscene.addon.exporters import export_request

    example("duo")
    request, arrays = export_request(blender.context, width=96, height=64, seed=11)
    path = tmp_path / "duo 0001.exr"
    write_exr(path, replace(request, prompt="a quay"), arrays)
    editors.load_picture(path)
    return blender


@pytest.mark.parametrize("destination", sorted(DESTINATIONS.keys() - {"IMAGE_EDITOR"}))
def test_one_click_puts_it_there_as_linear_light(made: Any, destination: str) -> None:
    scene = made.context.scene
    assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
    image = chosen()
    assert image.colorspace_settings.name == "Linear Rec.709" and images.size_of(image) == (96, 64)
    match destination:
        case "CAMERA_BACKGROUND":
            assert [one.image for one in scene.camera.data.background_images] == [image]
        case "IMAGE_PLANE":
            corners = np.array([vertex.co for vertex in scene.objects[image.name].data.vertices])
            assert np.ptp(corners[:, 0]) / np.ptp(corners[:, 1]) == pytest.approx(96 / 64)
        case "COMPOSITOR":
            tree = scene.compositing_node_group if hasattr(scene, "compositing_node_group") else scene.node_tree
            (node,) = (one for one in tree.nodes if one.bl_idname == "CompositorNodeImage")
            assert {"person_001_Eve", "person_002_Flo", "depth_order"} < set(node.outputs.keys())
        case "SEQUENCER":
            editor = scene.sequence_editor
            (strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences
            assert strip.elements[0].filename == "duo 0001.exr" and strip.colorspace_settings.name == "Linear Rec.709"


def test_its_settings_come_back_and_it_is_rendered_again_in_the_format_that_the_scene_asks_for(
    made: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    peer, own = start_peer(picture=picture), made.context.scene.beyondscene
    use_backend(peer.connection)
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    assert (own.prompt, own.file_format) == ("a quay", ".exr")
    offered = own.bl_rna.properties["file_format"].enum_items
    assert [item.identifier for item in offered] == list(images.FORMATS)
    own.output_folder = str(tmp_path)
    assert made.ops.beyondscene.render_again() == {"FINISHED"}
    own.file_format = ".png"
    assert made.ops.beyondscene.render_again() == {"FINISHED"}
    jobs = list(session.current().jobs.values())
    assert [job.path.name for job in jobs] == ["duo 0002.exr", "duo 0003.png"]  # one count for both
    session.current().tick()
    asked: list[str] = []
    while len(asked) < 2:
        session.current().tick()
        asked = [one.picture_format for one in peer.heard if isinstance(one, Submit)]
    assert asked == ["exr", "png"]


def test_a_gateway_brings_it(blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path) -> None:
    example("duo")
    use_backend(gateway.connection())
    own = blender.context.scene.beyondscene
    own.output_folder, own.file_format = str(tmp_path), ".exr"
    own.use_own_size, own.width, own.height = True, 96, 64
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    assert (tmp_path / "duo 0001.exr").read_bytes()[:4] == b"v/1\x01"
    assert images.size_of(chosen()) == (96, 64)


@pytest.mark.parametrize("suffix", [".exr", ".EXR"])
def test_frames_that_an_animation_lacks_come_in_the_format_of_the_others(
    made: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path, suffix: str
) -> None:
    peer, scene, folder = start_peer(picture=picture), made.context.scene, tmp_path / "duo animation 0001"
    use_backend(peer.connection)
    folder.mkdir()
    for frame in (1, 3):
        (folder / f"{frame:04d}{suffix}").write_bytes((tmp_path / "duo 0001.exr").read_bytes())
    editors.load_picture(folder / f"0001{suffix}")
    assert chosen().source == "SEQUENCE" and images.size_of(chosen()) == (96, 64)
    scene.frame_start, scene.frame_end, scene.beyondscene.file_format = 1, 3, ".png"
    assert made.ops.beyondscene.render_missing(wait=True) == {"FINISHED"}
    assert sorted(one.name for one in folder.iterdir()) == [f"000{frame}{suffix}" for frame in (1, 2, 3)]
    assert [(one.picture_format, one.request.prompt) for one in peer.heard if isinstance(one, Submit)] == [("exr", "a quay")]


def test_an_animation_may_be_there_in_both_formats(
    made: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    peer, scene, folder = start_peer(picture=picture), made.context.scene, tmp_path / "duo animation 0001"
    use_backend(peer.connection)
    folder.mkdir()
    (folder / "0001.png").write_bytes(picture)
    for frame in (1, 3):
        (folder / f"{frame:04d}.exr").write_bytes((tmp_path / "duo 0001.exr").read_bytes())
    for frame in (2, 3):
        (folder / f"{frame:04d}.png").write_bytes(picture)
    eight_bits, sixteen_bits = (editors.load_picture(folder / name) for name in ("0001.png", "0001.exr"))
    assert images.path_of(eight_bits).suffix == ".png" and images.path_of(sixteen_bits).suffix == ".exr"
    session.current().picture = images.PictureRef.of(sixteen_bits)
    scene.frame_start, scene.frame_end = 1, 3
    assert made.ops.beyondscene.render_missing(wait=True) == {"FINISHED"}
    assert [one.picture_format for one in peer.heard if isinstance(one, Submit)] == ["exr"]
    assert made.ops.beyondscene.delete_picture(delete_file=True) == {"FINISHED"}
    assert sorted(one.name for one in folder.iterdir()) == ["0001.png", "0002.png", "0003.png"]


def test_it_may_be_packed(made: Any, tmp_path: Path) -> None:
    image = chosen()
    image.pack()
    (tmp_path / "duo 0001.exr").unlink()
    assert images.size_of(image) == (96, 64)
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"} and made.context.scene.beyondscene.prompt == "a quay"
    assert made.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND") == {"FINISHED"}


def test_it_may_be_called_in_capitals(made: Any, tmp_path: Path) -> None:
    (tmp_path / "duo 0001.exr").rename(tmp_path / "DUO.EXR")
    assert made.ops.beyondscene.open_picture(filepath=str(tmp_path / "DUO.EXR")) == {"FINISHED"}
    assert images.size_of(chosen()) == (96, 64) and chosen().colorspace_settings.name == "Linear Rec.709"


@pytest.mark.parametrize("destination", ["CAMERA_BACKGROUND", "IMAGE_PLANE", "WORLD"])
@pytest.mark.parametrize("name", ["duo 0001.exr", "duo 0002.png"])
def test_a_file_that_was_cut_off_is_put_nowhere(made: Any, picture: bytes, tmp_path: Path, name: str, destination: str) -> None:
    path = tmp_path / name
    if not path.exists():
        path.write_bytes(picture)
    session.current().picture = images.PictureRef.of(editors.load_picture(path))
    path.write_bytes(path.read_bytes()[:40])
    chosen().reload()
    with pytest.raises(RuntimeError, match=f"{name} cannot be read as a picture: render it again"):
        made.ops.beyondscene.place_picture(destination=destination)


def test_blender_reads_of_it_what_the_backend_reads(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "duo 0001.exr"
    assert read_in_blender(path) == read_record(path) == read_in_blender(tmp_path / "packed", path.read_bytes())
    damaged = tmp_path / "damaged.exr"
    for length in (0, 3, 8, 20, 22, 200, 2000):
        damaged.write_bytes(path.read_bytes()[:length])
        reason = "damaged or cut off" if length >= 8 else ""
        with pytest.raises(RecordError, match=rf"damaged\.exr.*{reason}"):
            read_in_blender(damaged)
