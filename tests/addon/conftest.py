"""Blender with the add-on registered, the example scenes, and a scripted backend on a real socket."""

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zmq
from beyondscene.protocol import (
    CHUNK_BYTES,
    Accepted,
    Cancel,
    Cancelled,
    Chunk,
    ConnectionFile,
    Decoder,
    DeviceInfo,
    Fetch,
    Finished,
    Hello,
    ModelSetInfo,
    Ping,
    Pong,
    Progressed,
    Refused,
    Rejected,
    RenderSettings,
    Request,
    Started,
    Submit,
    Subscribe,
    Welcome,
    digest_of,
    encode,
    write_connection,
)
from beyondscene.protocol.messages import Message

from ..backend.serving.talk import Running

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SETTINGS = RenderSettings(steps=9, t_b=0.3, guidance_scale=2.5, scheduler="euler")  # of the picture `made`
DEVICE = DeviceInfo(kind="cpu", name="test device")


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """The tool that makes the extension."""
    spec = importlib.util.spec_from_file_location("build_extension", ROOT / "tools" / "build_extension.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def registered() -> Iterator[Any]:
    """bpy with the add-on registered."""
    bpy = pytest.importorskip("bpy")
    from beyondscene import addon

    addon.register()
    yield bpy
    addon.unregister()


@pytest.fixture
def blender(registered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """bpy with an empty scene, folders of its own, and no backend left running afterwards."""
    from beyondscene.addon import images

    monkeypatch.setattr(images, "own_folder", lambda: tmp_path / "own")
    monkeypatch.setattr(images, "kept_folder", lambda: tmp_path / "kept")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    registered.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    yield registered
    from beyondscene.addon import animation
    from beyondscene.addon.session import current

    animation.cancel()
    current().stop()
    current().cancel()  # what was not sent
    current().problem = None


@pytest.fixture
def example(blender: Any) -> Callable[[str], dict[str, Any]]:
    """Opens an example scene and returns its truth."""

    def open_example(name: str) -> dict[str, Any]:
        blender.ops.wm.open_mainfile(filepath=str(EXAMPLES / f"{name}.blend"))
        return json.loads((EXAMPLES / f"{name}.truth.json").read_text())

    return open_example


@pytest.fixture
def made(blender: Any, example: Callable[[str], dict[str, Any]], tmp_path: Path) -> Any:
    """The scene duo with a picture of it as the backend writes one: 96x64, from seed 11."""
    import numpy as np
    from beyondscene.addon import editors
    from beyondscene.addon.exporters import export_request
    from beyondscene.backend.outputs import Picture, make_record, write_picture
    from msgspec.structs import replace

    example("duo")
    request, arrays = export_request(blender.context, width=96, height=64, seed=11)
    request = replace(request, prompt="a quay", style="ink", settings=SETTINGS)
    path = tmp_path / "duo 0001.png"
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:] = (255, 128, 0)
    write_picture(path, Picture(image), make_record(request, arrays, "tiny", {}, "a test"))
    editors.load_picture(path)
    return blender


def chosen() -> Any:
    """The picture that the gallery shows."""
    from beyondscene.addon import history

    image = history.chosen()
    assert image
    return image


class Peer:
    """A backend that follows a script: it greets, takes a job, reports progress and sends `picture`.

    versions: what it speaks. hold: it reports progress, then waits for a cancel. damage: it sends other bytes than announced.
    waiting_jobs: as many as it lets wait. full: it takes none for now, nor a cancel. remarks: on the picture.
    """

    def __init__(
        self,
        picture: bytes = b"",
        versions: tuple[int, int] = (1, 1),
        hold: bool = False,
        damage: bool = False,
        waiting_jobs: int = 100,
        full: bool = False,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.full, self.remarks = full, remarks
        self.picture, self.versions, self.hold, self.damage, self.waiting_jobs = picture, versions, hold, damage, waiting_jobs
        self.heard: list[Message] = []
        self.most_ahead = 0  # the largest credit that was asked for at once
        server, client = zmq.curve_keypair(), zmq.curve_keypair()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.curve_server = True
        self._socket.curve_secretkey = server[1]
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.connection = ConnectionFile(
            endpoint=f"tcp://127.0.0.1:{port}",
            server_public_key=server[0].decode(),
            client_public_key=client[0].decode(),
            client_secret_key=client[1].decode(),
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """From then on nobody answers; a second time does nothing."""
        self._closing.set()
        self._thread.join()
        self._socket.close()
        self._context.term()

    def _run(self) -> None:
        decode = Decoder(Request)
        while not self._closing.is_set():
            if self._socket.poll(20):
                sender, *frames = self._socket.recv_multipart()
                message, _ = decode(frames)
                self.heard.append(message)
                for answer in self._answers(message):
                    self._socket.send_multipart([sender, *answer])

    def _answers(self, message: Message) -> list[list[Any]]:
        match message:
            case Hello() if not message.versions[0] <= self.versions[1]:
                return [encode(Rejected(versions=self.versions, message="Update the backend."))]
            case Hello() if message.versions[1] < self.versions[0]:
                return [encode(Rejected(versions=self.versions, message="Update the add-on."))]
            case Hello():
                models = (ModelSetInfo(name="embedded", training_resolution_px=256),)
                facts = {"models": models, "device": DEVICE, "waiting_jobs": self.waiting_jobs}
                return [encode(Welcome(version=1, app_version="0", boot_id="b", **facts))]
            case Ping():
                return [encode(Pong(device=DEVICE))]
            case Submit() if self.full:
                return [encode(Refused(job_id=message.job_id, message="100 jobs are waiting.", later=True))]
            case Submit():
                job_id, size = message.job_id, {"width": message.request.width, "height": message.request.height}
                begun = [
                    encode(Accepted(job_id=job_id, seq=1, position=0)),
                    encode(Started(job_id=job_id, seq=2, attempt=1, device=DEVICE)),
                    encode(Progressed(job_id=job_id, seq=3, stage="enlarge", level=1, levels=2, fraction=0.5, remaining_s=3)),
                ]
                digest = digest_of(self.picture)
                facts = {"media_type": "image/png", "size_bytes": len(self.picture), "digest": digest, "remarks": self.remarks}
                return begun if self.hold else [*begun, encode(Finished(job_id=job_id, seq=4, **size, **facts))]
            case Subscribe():  # to a job of an earlier Blender, which is done by now
                facts = {"media_type": "image/png", "size_bytes": len(self.picture), "digest": digest_of(self.picture)}
                return [encode(Finished(job_id=message.job_id, seq=4, width=1024, height=1024, **facts))]
            case Cancel() if self.full:
                return [encode(Refused(job_id=message.job_id, message="The disk is full.", later=True))]
            case Cancel():
                return [encode(Cancelled(job_id=message.job_id, seq=4))]
            case Fetch():
                return self._chunks(message)
        return []

    def _chunks(self, fetch: Fetch) -> list[list[Any]]:
        data = bytes(reversed(self.picture)) if self.damage else self.picture
        self.most_ahead = max(self.most_ahead, fetch.chunks)
        offsets = range(fetch.offset, min(len(data), fetch.offset + fetch.chunks * CHUNK_BYTES), CHUNK_BYTES)
        return [
            encode(Chunk(job_id=fetch.job_id, offset=o, size_bytes=len(data)), [data[o : o + CHUNK_BYTES]]) for o in offsets
        ]


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a real gateway whose worker paints noise, with these settings."""
    started: list[Running] = []

    def start(**settings: Any) -> Running:
        (tmp_path / "gateway").mkdir()
        started.append(Running(tmp_path / "gateway", **settings))
        return started[-1]

    yield start
    for running in started:
        running.process.terminate()
        running.process.communicate(timeout=60)


@pytest.fixture
def gateway(start_gateway: Callable[..., Running]) -> Running:
    return start_gateway()


@pytest.fixture
def use_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], None]:
    """Makes the preferences name the connection file of a backend, or of none at all."""
    from beyondscene.addon import preferences
    from beyondscene.addon.preferences import Preferences

    def use(connection: Any) -> None:
        path = tmp_path / "connection.json"
        if connection is not None:
            write_connection(path, connection)
        monkeypatch.setattr(preferences, "get", lambda context: Preferences("", str(path), ""))

    return use


@pytest.fixture
def picture() -> bytes:
    """A PNG of 3 MiB, so that it comes in several pieces."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def until(condition: Callable[[], Any], timeout_s: float = 60) -> None:
    """Do what the add-on's timer does until `condition` holds."""
    from beyondscene.addon import ticker

    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        ticker.drain()
        time.sleep(0.02)


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Peer]]:
    """Starts scripted backends, and closes them afterwards."""
    peers: list[Peer] = []

    def start(**script: Any) -> Peer:
        peers.append(Peer(**script))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()
