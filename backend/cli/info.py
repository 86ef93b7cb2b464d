"""Show versions, devices and the model sets that were found."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from ...protocol import VERSION
from ..models.sets import ModelSet, ModelSetError, find_model_sets
from . import DONE

PACKAGES = ("beyondscene", "torch", "diffusers", "transformers", "msgspec", "pyzmq", "bpy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one line for machines")


def run(args: argparse.Namespace) -> int:
    versions = {"python": platform.python_version(), "protocol": str(VERSION)} | {p: version_of(p) for p in PACKAGES}
    devices = find_devices()
    sets = [describe(model_set) for model_set in find_model_sets()]
    if args.json:
        print(msgspec.json.encode({"versions": versions, "devices": devices, "models": sets}).decode())
        return DONE
    rows = [*versions.items(), *(("device", name) for name in devices)]
    for facts in sets:
        state = "ready" if not facts["missing"] else f"lacks {', '.join(facts['missing'])}"
        state += ", also in few steps" if facts["few_steps"] else ""
        state += f"; a `beyondscene render` with `--models {facts['name']}` says how to get them" if facts["missing"] else ""
        rows.append(("models", f"{facts['name']}, {facts['training_resolution_px']} px: {state}"))
    for name, fact in rows:
        print(f"{name:12}  {fact}")
    return DONE


def describe(model_set: ModelSet) -> dict[str, Any]:
    """A set with a file that cannot be read lacks all its roles: it must not hide the others. `render` says what is wrong."""
    facts = {"name": model_set.name, "training_resolution_px": model_set.training_resolution_px}
    try:
        return facts | {"missing": list(model_set.missing_roles), "few_steps": model_set.has_few_steps}
    except ModelSetError:
        return facts | {"missing": list(model_set.roles), "few_steps": False}


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def find_devices() -> list[str]:
    import torch

    from ..models.devices import list_devices

    found = (name for name in list_devices() if name != "cpu")
    named = (f"{name} {torch.cuda.get_device_name(name)}" if name.startswith("cuda") else name for name in found)
    return [*named, f"cpu {torch.get_num_threads()} threads"]
