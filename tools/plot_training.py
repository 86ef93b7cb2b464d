"""Plot the losses of a training run: python tools/plot_training.py WORK/train.jsonl OUT.png."""

import argparse
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import msgspec
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

STAGES = ("vae", "decoder", "segmenter", "denoiser", "few-steps")


Losses = dict[str, dict[int, list[tuple[int, float]]]]


def read_losses(log: Path) -> Losses:
    """Per stage and size of the samples in latents (0 where there is one size): (step, loss). A step told twice counts once.

    The binding loss stands beside the stages; steps without views of several people have none.
    """
    losses: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in log.read_text("utf-8").splitlines():
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="train.jsonl of a run")
    parser.add_argument("out", type=Path, help="the plot, as .png")
    args = parser.parse_args()
    try:
        losses = read_losses(args.log)
    except (OSError, msgspec.DecodeError) as error:
        parser.error(f"{args.log} cannot be read: {error}")
    if not losses:
        parser.error(f"{args.log} tells of no loss in any of the stages {', '.join(STAGES)}: wait for their first steps.")
    if not args.out.parent.is_dir():
        parser.error(f"there is no folder {args.out.parent}: make it, or name another place for the plot.")
    plot(losses, args.out)
    print(f"{args.out}: {', '.join(losses)}")
    return 0


def plot(losses: Losses, out: Path) -> None:
    """Write one panel per stage, its sizes in one."""
    figure, axes = plt.subplots(1, len(losses), figsize=(4.5 * len(losses), 3.2), squeeze=False)
    for axis, (stage, sizes) in zip(axes[0], losses.items(), strict=True):
        for cells, points in sorted(sizes.items()):
            steps, values = (np.array(column, float) for column in zip(*points, strict=True))
            label = f"{8 * cells} px" if cells else "loss"
            (line,) = axis.plot(steps, smooth(values, 25), label=label)
            axis.plot(steps, values, ".", color=line.get_color(), alpha=0.15, markersize=2)
        axis.set(title=stage, xlabel="step", ylabel="loss", yscale="log")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
