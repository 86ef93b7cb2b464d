"""Run a gateway: gateway_process.py SETTINGS_JSON. Unless the settings say otherwise it has a stand-in
worker, and two made-up model sets where they name no folders.

At its end it tells on standard output whether torch was ever imported.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyondscene.backend.gateway import ServeSettings, serve


class PaintedSet:
    """A model set without models."""

    folder = Path("nowhere")
    training_resolution_px = 128

    def __init__(self, name: str, *missing_roles: str) -> None:
        self.name = name
        self.missing_roles = missing_roles

    def check(self) -> None:
        if self.missing_roles:
            raise ValueError(f"The model set '{self.name}' lacks its {self.missing_roles[0]} model.")


def find_model_sets(extra: Sequence[Path]) -> list[PaintedSet]:
    return [PaintedSet("embedded"), PaintedSet("half", "controlnet")]


def main() -> int:
    given: dict[str, Any] = json.loads(sys.argv[1])
    given |= {name: Path(given[name]) for name in ("data_folder", "ready_file")}
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
