"""Work that is left out where the user says so: another picture, sooner. All of it is off by default.

Which steps are guided, and what stands for views without people in the steps that leave them out; views without people that do
without the ControlNet are in `batches.is_posed`.
"""

from collections.abc import Callable

import numpy as np
import torch

from .schedule import Scheduler

MEMORY = "background"
Run = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def is_guided(scheduler: Scheduler, interval: tuple[float, float], timestep: torch.Tensor) -> bool:
    """Whether a step runs the negative prompt too (arXiv 2404.07724, with the interval in timesteps in place of noise levels).

    interval: shares of the training timesteps, 0 the clean picture and 1 pure noise. timestep: in host memory.
    """
    low, high = interval
    return low <= float(timestep) / scheduler.config["num_train_timesteps"] <= high


class Background:
    """What the views without people add to the canvas, in steps that do not run them.

    Their estimates of the clean picture stand from the last step that ran them. Summed with the views' weights they are one
    canvas, whatever the number of views, since the network's output is linear in that estimate for a given noisy canvas.
    """

    def __init__(self, scheduler: Scheduler, weight: torch.Tensor, run: Run, every: int) -> None:
        """weight: float32 (h, w), the sum of those views' weights. every: steps from one run of them to the next.

        run: takes the network's input, (C, h, w), and the timestep; returns the weighted sum of those views' outputs.
        """
        self._alphas = scheduler.alphas_cumprod.cpu()
        self._predicts = scheduler.config["prediction_type"]
        self._weight, self._run, self._every = weight, run, every
        self._clean: torch.Tensor | None = None

    def add_up(self, scaled: torch.Tensor, timestep: torch.Tensor, index: int) -> torch.Tensor:
        """The weighted sum of those views' outputs, (C, h, w), at the step `index`: what they say, or what leads to the clean
        picture that they last said. scaled: the network's input, (C, h, w)."""
        of_input, of_clean, of_output = self._factors(timestep)
        if index % self._every == 0:
            total = self._run(scaled, timestep)
            self._clean = (of_input * scaled * self._weight - of_output * total) / of_clean
            return total
        assert self._clean is not None  # the first step of a canvas runs all views
        return (of_input * scaled * self._weight - of_clean * self._clean) / of_output

    def state_arrays(self) -> dict[str, np.ndarray]:
        """For another attempt at the picture, as `schedule.state_arrays`."""
        return {} if self._clean is None else {MEMORY: self._clean.cpu().numpy()}

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        if MEMORY in arrays:
            self._clean = torch.from_numpy(arrays.pop(MEMORY)).to(self._weight.device)

    def _factors(self, timestep: torch.Tensor) -> tuple[float, float, float]:
        """of_input, of_clean and of_output with of_output * output = of_input * input - of_clean * clean."""
        alpha = float(self._alphas[round(float(timestep))])
        signal, noise = alpha**0.5, (1 - alpha) ** 0.5
        factors = {"epsilon": (1.0, signal, noise), "v_prediction": (signal, 1.0, noise), "sample": (0.0, -1.0, 1.0)}
        return factors[self._predicts]
