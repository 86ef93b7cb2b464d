"""Run a gateway: gateway_process.py SETTINGS_JSON. Unless the settings say otherwise it has a stand-in
worker, and two made-up model sets where they name no folders.

die: "before Accepted", "after Finished", "after publish", "after forget", "after chunk 4" and the like: it is killed there, as
by kill -9, before or after that event is committed, the picture of a job is in its place, the ledger knows none of it any more,
or the fourth piece of one is sent.

At its end it tells on standard output whether torch was ever imported.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyondscene.backend import machine
from beyondscene.backend.gateway import ServeSettings, serve
from beyondscene.backend.gateway.clients import Clients
from beyondscene.backend.gateway.files import JobFiles
from beyondscene.backend.gateway.ledger import Ledger
from beyondscene.backend.models.manifest import Manifest, ModelSetError, Role
from beyondscene.backend.models.sets import ModelSet, find_model_sets


class PaintedSet(ModelSet, frozen=True, kw_only=True):
    """A model set without models. lacks: its roles that are not there."""

    lacks: tuple[Role, ...] = ()

    @property
    def latent_downsampling(self) -> int:
        return 8

    @property
    def missing_roles(self) -> tuple[Role, ...]:
        return self.lacks

    def check(self) -> None:
        if self.lacks:
            raise ModelSetError(f"The model set '{self.name}' lacks its {self.lacks[0]} model.")


def painted(name: str, *lacks: Role) -> PaintedSet:
    manifest = Manifest(name=name, training_resolution_px=128, pose_line_width_px=2, roles={})
    return PaintedSet(folder=Path("nowhere"), manifest=manifest, lacks=lacks)


def painted_sets(extra: Sequence[Path]) -> list[PaintedSet]:
    return [painted("embedded"), painted("half", "controlnet")]


def die_at(point: str) -> None:
    when, what, *number = point.split()
    places = {"publish": (JobFiles, "publish"), "forget": (Ledger, "forget_result"), "chunk": (Clients, "_send_chunk")}
    home, name = places.get(what, (Ledger, "commit"))
    method, calls = getattr(home, name), 0

    def deadly(self: object, *arguments: Any) -> None:
        nonlocal calls
        here = what in places or type(arguments[1] if len(arguments) > 1 else None).__name__ == what
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
    machine.COUNTS = Path(given["data_folder"]) / "vmstat"  # as Linux has it, but for what other processes do
    if point := given.pop("die", None):
        die_at(point)
    given |= {name: Path(given[name]) for name in ("data_folder", "ready_file")}
    if "devices" in given:
        given["devices"] = tuple(given["devices"])
    find = painted_sets
    if "model_folders" in given:
        given["model_folders"] = tuple(map(Path, given["model_folders"]))
        find = find_model_sets
    given.setdefault("worker_command", (sys.executable, str(Path(__file__).with_name("stand_in_worker.py"))))
    code = serve(ServeSettings(**given), find)
    print(json.dumps({"torch": "torch" in sys.modules}))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
