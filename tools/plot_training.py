"""Plot the losses of a training run: python tools/plot_training.py WORK/train.jsonl OUT.png."""

import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import msgspec
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

STAGES = ("vae", "segmenter", "denoiser")


def read_losses(log: Path) -> dict[str, dict[int, list[tuple[int, float]]]]:
    """Per stage and size of the samples in latents (0 where there is one size): (step, loss). A step told twice counts once.

    The binding loss stands beside the stages; steps without views of several people have none.
    """
    losses: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in log.read_text().splitlines():
        event = msgspec.json.decode(line)
        if event["stage"] in STAGES and "loss" in event:  # else it tells of something else, as how many steps fit
            losses[event["stage"]][event.get("cells", 0)][event["step"]] = event["loss"]
        if event.get("binding"):
            losses["binding"][event["cells"]][event["step"]] = event["binding"]
    return {stage: {cells: sorted(steps.items()) for cells, steps in sizes.items()} for stage, sizes in losses.items()}


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` values, shorter at both ends."""
    kernel = np.ones(min(width, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def main() -> int:
    log, out = Path(sys.argv[1]), Path(sys.argv[2])
    losses = read_losses(log)
    figure, axes = plt.subplots(1, len(losses), figsize=(4.5 * len(losses), 3.2), squeeze=False)
    for axis, (stage, sizes) in zip(axes[0], losses.items(), strict=True):
        for cells, told in sorted(sizes.items()):
            steps, values = (np.array(column, float) for column in zip(*told, strict=True))
            label = f"{8 * cells} px" if cells else "loss"
            (line,) = axis.plot(steps, smooth(values, 25), label=label)
            axis.plot(steps, values, ".", color=line.get_color(), alpha=0.15, markersize=2)
        axis.set(title=stage, xlabel="step", ylabel="loss", yscale="log")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    print(f"{out}: {', '.join(losses)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
