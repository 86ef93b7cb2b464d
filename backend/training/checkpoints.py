"""Save and resume a training loop in safetensors files, replaced atomically."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


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


def save_loop(path: Path, step: int, module: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
    """Write everything that resuming after `step` steps needs."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"ema.{name}": tensor for name, tensor in ema.tensors.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, {"step": str(step)})
    part.replace(path)


def load_loop(path: Path, module: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> int:
    """Restore what save_loop wrote; return the number of steps done, 0 where there is no file."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        step = int(file.metadata()["step"])
    module.load_state_dict(_below("module.", tensors))
    device = next(module.parameters()).device
    averages = _below("ema.", tensors)
    ema.tensors = {name: averages[name].to(device) for name in ema.tensors}  # in the order of the parameters
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


class Steps:
    """The steps that a training loop has left: it resumes from `path`, writes checkpoints there, and stops when time is out."""

    def __init__(
        self, path: Path, module: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, steps: int, every: int,
        out_of_time: Callable[[], bool], saved: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """every: steps between checkpoints; the last step and one that time ends at have theirs too.

        saved: called after each checkpoint but that of the last step.
        """
        self.path, self.module, self.ema, self.optimizer = path, module, ema, optimizer
        self.steps, self.every, self.out_of_time, self.saved = steps, every, out_of_time, saved
        self.done = load_loop(path, module, ema, optimizer)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, rather than time out."""
        return self.done >= self.steps

    def __iter__(self) -> Iterator[int]:
        """Yield the number of each step before it is taken, from 0 on."""
        while not self.finished:
            yield self.done
            self.done += 1
            stop = self.out_of_time() and not self.finished
            if self.done % self.every == 0 or stop or self.finished:
                save_loop(self.path, self.done, self.module, self.ema, self.optimizer)
                if not self.finished:
                    self.saved()
            if stop:
                return


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int, warm_up: int, flat: float = 0.0) -> None:
    """Set the learning rate of `step`: linear warm-up, flat until `flat` of the run, cosine to 2 % of `peak`.

    A parameter group with a "share" takes that share of it.
    """
    progress = max(step / steps - flat, 0.0) / (1 - flat)
    rate = peak * min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def learn(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, step: int, most: float = 1.0) -> None:
    """Take one optimizer step down `loss`, its gradients no longer than `most`, and let the mean follow."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), most)
    optimizer.step()
    ema.update(module, step)


def step_random(seed: int, stage: int, step: int, device: torch.device) -> tuple[np.random.Generator, torch.Generator]:
    """Return generators that depend on the step alone, so that a resumed run draws the same numbers."""
    numbers = np.random.default_rng([seed, stage, step])
    noise = torch.Generator(device).manual_seed(int(numbers.integers(2**62)))
    return numbers, noise


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
