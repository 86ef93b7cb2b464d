"""What a folder of checkpoints was made with, so that another run never passes for its continuation."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from ...protocol import Refusal
from ...protocol.locks import lock
from ..models.devices import choose_device
from ..models.extras import digest_weights
from ..models.sets import read_model_set

RUN = "run.json"


class RunError(Refusal):
    """A run cannot begin or go on as it was asked for. The message names what is wrong with it, and the next step."""


class RenderRun(msgspec.Struct, frozen=True, kw_only=True):
    """What renders depend on but for their number: more of them go on with the same sequence."""

    format: int = 1
    seed: int
    size_px: int


class EmbeddedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the checkpoints of an embedded model depend on, but for steps and rates, which may change on the way.

    device: its kind, as "cuda". start: digest of the weights that it goes on from. sizes: of the networks. batches: of each
    part, which are larger on a GPU.
    """

    format: int = 2
    seed: int
    views: int
    size_px: int
    device: str
    start: str | None
    further: tuple[str, ...]
    sizes: dict[str, Any]
    batches: dict[str, Any]


class FewStepsRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the checkpoint of a LoRA for few steps depends on, likewise. teacher: digest of its weights."""

    format: int = 1
    seed: int
    views: int
    size_px: int
    teacher: str
    jumps: int
    teacher_steps: int
    rank: int


class HcpRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the checkpoint of HcP layers depends on, likewise. base: digest of the weights that they are trained on.

    reduction: of the layers. reference: what says where bodies are.
    """

    format: int = 1
    seed: int
    views: int
    size_px: int
    base: str
    reduction: int
    reference: str


class JudgeRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the checkpoint of a judge depends on, likewise. network: its sizes."""

    format: int = 1
    seed: int
    batch: int
    network: dict[str, Any]


def check_numbers(**numbers: int) -> None:
    """Raise RunError for the first of a run's numbers that means nothing; ask before `claim`. "seed" may be 0."""
    for name, number in numbers.items():
        least = 0 if name == "seed" else 1
        if number < least:
            raise RunError(f"--{name} {number} is too few: say {least} or more.")


def training_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU that knows bfloat16, in which networks learn here, else the CPU.

    Raises Refusal for one that is not here.
    """
    device, precision = choose_device(name)
    return torch.device("cpu") if name == "auto" and precision != torch.bfloat16 else device


def claim(folder: Path, run: RenderRun | EmbeddedRun | FewStepsRun | HcpRun | JudgeRun) -> None:
    """Write `run` to `folder`, or see that it is the one which was begun there.

    Raises RunError where it is another one, or where there are files of nobody knows which.
    """
    path = folder / RUN
    advice = f"name another folder with --work, or delete {folder} to begin anew."
    if not path.exists():
        if any(folder.glob("*.safetensors")):
            raise RunError(f"{folder} has *.safetensors, but no {RUN} that says of which run they are: {advice}")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")
        return
    try:
        begun = flatten(msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
    except ValueError as error:  # what is no JSON, or no UTF-8
        raise RunError(f"{path} cannot be read ({error}): {advice}") from error
    now = flatten(msgspec.json.decode(msgspec.json.encode(run)))
    differing = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    if differing:
        differences = ", ".join(f"{name} = {begun.get(name)}, but now it is {now.get(name)}" for name in differing)
        raise RunError(f"{folder} is of a run with {differences}: {advice}")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within, no other process writes to `folder`, which was claimed. Raises RunError where one does already."""
    with (folder / RUN).open("rb+") as file:
        if not lock(file):
            raise RunError(f"Another process is at work in {folder}: wait until it has ended, or name another with --work.")
        yield


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The same without objects in objects: their names are joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def digest_model_set(folder: Path) -> str:
    """One digest of all weights of the model set in `folder`. Raises ModelSetError where there is none."""
    return digest_weights(read_model_set(folder), {})


def digest_module(module: nn.Module) -> str:
    """One digest of all values of a network."""
    state = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()
