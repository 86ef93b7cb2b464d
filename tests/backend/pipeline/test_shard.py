"""The views of one picture on several devices: the same picture as on one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beyondscene.backend.cli import main
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import shard
from beyondscene.backend.pipeline.shard import even_parts
from beyondscene.protocol import RenderRequest, save_request
from msgspec.structs import replace
from PIL import Image

COMMAND = """import sys
from beyondscene.backend.cli import main
sys.exit(main(sys.argv[1:]))"""


def test_parts_are_even_and_there_are_as_many_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(part) for part in even_parts(list(range(49)), 16)] == [12, 12, 13, 12]
    assert even_parts([1, 2, 3], 4) == [[1, 2, 3]] and even_parts([1, 2], 1) == [[1], [2]]
    monkeypatch.setattr(shard, "place", lambda: (1, 2))
    parts = even_parts(list(range(9)), 4)
    assert [len(part) for part in parts] == [2, 2, 3, 2] and [one for part in parts for one in part] == list(range(9))
    assert shard.my_share(parts) == [parts[1], parts[3]]
    assert even_parts([1], 4) == [[1]]  # one of two has nothing to do


def test_two_processes_draw_the_picture_of_one(
    two_people: RenderRequest, tiny_models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for rounding, which could flip an edge that pixels are replaced at: that is left out."""
    request_file = tmp_path / "request.json"
    save_request(request_file, replace(two_people, settings=replace(two_people.settings, perturb="off")), {})

    def command(name: str) -> list[str]:
        return ["render", str(request_file), "-o", str(tmp_path / name), "--models", str(tiny_models.folder), "--device", "cpu"]

    assert main(command("alone.png")) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    roots = [str(Path(path).resolve()) for path in sys.path if path]
    environment = os.environ | place | {"RANK": "1", "PYTHONPATH": os.pathsep.join(roots)}
    other = subprocess.Popen([sys.executable, "-c", COMMAND, *command("other.png")], env=environment)
    for name, value in (place | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    try:
        assert main(command("together.png")) == 0
        assert other.wait(300) == 0
    finally:
        other.kill()
    alone, together = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("alone.png", "together.png"))
    assert np.abs(alone - together).max() <= 1 and not (tmp_path / "other.png").exists()
