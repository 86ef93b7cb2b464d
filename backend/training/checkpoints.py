"""Take the steps of a training loop, and save and resume it in safetensors files, replaced atomically."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...protocol import Refusal
from .under_way import OutOfTime, Run

MOST_LEFT_OUT = 20  # steps in a row whose gradients are no numbers
FEW_LEFT_OUT = 40, 200  # so many of the last so many, likewise
# Without cuDNN's, torch's first choice on Hopper from 2.11 on: its backward pass makes every gradient NaN now and then
# (pytorch#196678 and others; seen here on an H100 in step 75 of batches of 256). Flash attention takes its place.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class TrainingError(Refusal):
    """Training cannot go on. The message says since when, and the next step."""


@contextmanager
def half_precision(device: torch.device) -> Iterator[None]:
    """Within, networks compute in bfloat16 where that is precise enough, and attend in a way that can be learnt from."""
    with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(ATTENTION):
        yield


class Ema:
    """A running mean of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: p.detach().clone().float() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module; early on faster, so that the initial values are forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        values = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(list(self.tensors.values()), values, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Set the module's parameters to the mean."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.tensors[name])


def save_loop(path: Path, step: int, module: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, fitted: int | None) -> None:
    """Write everything that resuming after `step` steps needs. fitted: the steps of a run that was fitted to its time."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"ema.{name}": tensor for name, tensor in ema.tensors.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    metadata = {"step": str(step)} | ({} if fitted is None else {"fitted": str(fitted)})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)
    part.replace(path)


def load_loop(path: Path, module: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> tuple[int, int | None]:
    """Restore what save_loop wrote; return the number of steps done, 0 where there is no file, and `fitted`."""
    if not path.exists():
        return 0, None
    with safe_open(path, "pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata: dict[str, str] = file.metadata()
    module.load_state_dict(_below("module.", tensors))
    device = next(module.parameters()).device
    averages = _below("ema.", tensors)
    ema.tensors = {name: averages[name].to(device) for name in ema.tensors}  # in the order of the parameters
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["step"]), int(metadata["fitted"]) if "fitted" in metadata else None


class Steps:
    """The steps that a training loop has left: it resumes from a file in the run's folder, and writes checkpoints there.

    A step whose gradients are no finite numbers is left out, since one would spoil every weight for good.
    """

    def __init__(
        self, run: Run, name: str, module: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, steps: int, every: int,
        saved: Callable[[], None] = lambda: None, fitting: bool = False,
    ) -> None:  # fmt: skip
        """name: of the file. every: steps between checkpoints; the last step and one that time ends at have theirs too.

        saved: called after each checkpoint but that of the last step. fitting: whether `fit` is called, and what it was called
        with in an earlier process holds: what was fitted and has come to its end is finished.
        """
        self.run, self.path, self.every, self.saved = run, run.folder / f"{name}.safetensors", every, saved
        self.module, self.ema, self.optimizer = module, ema, optimizer
        self.done, fitted = load_loop(self.path, module, ema, optimizer)
        self.fitted = fitted if fitting else None
        self.steps = min(steps, self.fitted or steps)
        self.left_out, self._in_a_row = 0, 0  # steps of this process
        self._lately: deque[bool] = deque(maxlen=FEW_LEFT_OUT[1])

    @property
    def finished(self) -> bool:
        return self.done >= self.steps

    def __iter__(self) -> Iterator[int]:
        """Yield the number of each step before it is taken, from 0 on. Raises OutOfTime after the step that time ends at."""
        while not self.finished:
            yield self.done
            self.done += 1
            stop = not self.finished and self.run.out_of_time
            if self.done % self.every == 0 or stop or self.finished:
                save_loop(self.path, self.done, self.module, self.ema, self.optimizer, self.fitted)
                if not self.finished:
                    self.saved()
            if stop:
                raise OutOfTime

    def fit(self, steps: int) -> None:
        """Let the run end after `steps`, but not before the step that is due."""
        self.steps = self.fitted = max(self.done + 1, steps)

    def learn(self, loss: Tensor, most: float = 1.0) -> None:
        """Take the step that is due down `loss`; see `descend`."""
        loss.backward()
        self.descend(most)

    def descend(self, most: float = 1.0, take: Callable[[], object] | None = None) -> None:
        """Take the step that is due down the gradients that are there, no longer than `most`, and let the mean follow.

        take: in place of the optimizer's own step. Raises TrainingError after MOST_LEFT_OUT steps in a row without finite
        gradients, and where they are more than FEW_LEFT_OUT.
        """
        length = nn.utils.clip_grad_norm_(self.module.parameters(), most)
        finite = bool(torch.isfinite(length))
        if finite:
            (take or self.optimizer.step)()
            self.ema.update(self.module, self.done)
        self.optimizer.zero_grad(set_to_none=True)
        self._in_a_row = 0 if finite else self._in_a_row + 1
        self.left_out += not finite
        self._lately.append(not finite)
        lately, (most_lately, latest) = sum(self._lately), FEW_LEFT_OUT
        if self._in_a_row == MOST_LEFT_OUT:
            many = f"{MOST_LEFT_OUT} steps in a row"
        elif lately > most_lately:
            many = f"{lately} of {latest} steps"
        else:
            return
        raise TrainingError(
            f"The gradients of {many}, up to step {self.done + 1}, are no finite numbers: "
            "call again to go on from the last checkpoint, with another torch or on another device if it comes to the same."
        )


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int, warm_up: int, flat: float = 0.0) -> None:
    """Set the learning rate of `step`: linear warm-up, flat until `flat` of the run, cosine to 2 % of `peak`.

    A parameter group with a "share" takes that share of it.
    """
    progress = max(step / steps - flat, 0.0) / (1 - flat)
    rate = peak * min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def step_random(run: Run, stage: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Return generators that depend on the seed and the step alone, so that a resumed run draws the same numbers."""
    numbers = np.random.default_rng([run.seed, stage, step])
    noise = torch.Generator(run.device).manual_seed(int(numbers.integers(2**62)))
    return numbers, noise


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
