"""Run a gateway: gateway_process.py SETTINGS_JSON. Unless the settings say otherwise it has a stand-in
worker, and two made-up model sets where they name no folders.

die: "before Accepted", "after Finished", "after publish", "after chunk 4" and the like: it is killed there, as by kill -9,
before or after that event is committed, the picture of a job is in its place, or the fourth piece of one is sent.

At its end it tells on standard output whether torch was ever imported.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyondscene.backend.gateway import ServeSettings, serve
from beyondscene.backend.gateway.clients import Clients
from beyondscene.backend.gateway.files import JobFiles
from beyondscene.backend.gateway.ledger import Ledger
from beyondscene.backend.models.sets import Manifest
from beyondscene.protocol import Refusal


class PaintedSet:
    """A model set without models."""

    folder = Path("nowhere")
    training_resolution_px = 128
    latent_downsampling = 8
    has_few_steps = False

    def __init__(self, name: str, *missing_roles: str) -> None:
        self.name = name
        self.manifest = Manifest(name=name, training_resolution_px=128, pose_line_width_px=2, roles={})
        self.missing_roles = missing_roles

    def check(self) -> None:
        if self.missing_roles:
            raise Refusal(f"The model set '{self.name}' lacks its {self.missing_roles[0]} model.")

    def few_steps_file(self) -> Path:
        raise Refusal(f"The model set '{self.name}' names no LoRA for few steps.")


def find_model_sets(extra: Sequence[Path]) -> list[PaintedSet]:
    return [PaintedSet("embedded"), PaintedSet("half", "controlnet")]


def die_at(point: str) -> None:
    when, what, *number = point.split()
    home, name = {"publish": (JobFiles, "publish"), "chunk": (Clients, "_send_chunk")}.get(what, (Ledger, "commit"))
    method, calls = getattr(home, name), 0

    def deadly(self: object, *arguments: Any) -> None:
        nonlocal calls
        here = home is not Ledger or type(arguments[1] if len(arguments) > 1 else None).__name__ == what
        calls += here
        here = here and calls >= int(number[0] if number else 1)
        if here and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        method(self, *arguments)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(home, name, deadly)


def main() -> int:
    given: dict[str, Any] = json.loads(sys.argv[1])
    if point := given.pop("die", None):
        die_at(point)
    given |= {name: Path(given[name]) for name in ("data_folder", "ready_file")}
    if "devices" in given:
        given["devices"] = tuple(given["devices"])
    find = find_model_sets
    if "model_folders" in given:
        given["model_folders"] = tuple(map(Path, given["model_folders"]))
        find = None
    given.setdefault("worker_command", (sys.executable, str(Path(__file__).with_name("stand_in_worker.py"))))
    code = serve(ServeSettings(**given), find)
    print(json.dumps({"torch": "torch" in sys.modules}))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
