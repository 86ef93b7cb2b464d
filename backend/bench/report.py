"""What was measured, as Markdown and as a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import diffusers
import torch
from msgspec import Struct

from ..hardware import device_name, name_precision
from ..markdown import markdown_table
from ..models.load import Models
from .meter import StageCost
from .run import OURS, PLAIN, Row, Runs, area, name_of, name_of_stage
from .unit_costs import UnitCosts, unit_costs

COLUMNS = (
    "method",
    "size",
    "s",
    "plain / it",
    "difference",
    "evaluations",
    "TFLOP",
    "TFLOP/s",
    "of ceiling",
    "UNet s",
    "UNet of ceiling",
    "device MiB",
    "host MiB",
)
STAGE_COLUMNS = (
    "stage",
    "s",
    "evaluations",
    "TFLOP",
    "views' TFLOP",
    "TFLOP/s",
    "of ceiling",
    "UNet s",
    "UNet of ceiling",
    "device MiB",
    "host MiB",
)


class Machine(Struct, frozen=True, kw_only=True):
    """Where and with what it was measured.

    dtype: of the large networks. loaded_mib: resident memory of the process before the first picture.
    """

    device: str
    threads: int
    dtype: str
    tf32: bool  # what single precision is in convolutions on a GPU
    torch: str
    diffusers: str
    ceiling_tflops: float
    loaded_mib: float


def describe_machine(models: Models, ceiling_flops: float, loaded_mib: float) -> Machine:
    return Machine(
        device=device_name(models.device),
        threads=torch.get_num_threads(),
        dtype=name_precision(models.dtype),
        tf32=models.device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        torch=torch.__version__,
        diffusers=diffusers.__version__,
        ceiling_tflops=round(ceiling_flops / 1e12, 4),
        loaded_mib=round(loaded_mib),
    )


@dataclass(frozen=True)
class Report:
    """What stands above the tables."""

    models: Models
    machine: Machine
    people: int
    steps: int
    device_gib: float | None = None  # that torch was held to
    tuning: tuple[str, ...] = ()  # of all methods' networks

    @cached_property
    def costs(self) -> UnitCosts:
        """Reckoned once: for SDXL it takes as long as a small picture."""
        return unit_costs(self.models)

    def markdown(self, all_runs: Sequence[Runs], rows: Sequence[Row]) -> str:
        """Every method at every size, then the stages of each method at its largest size."""
        machine = self.machine
        lines = [
            f"# {self.models.manifest.name}, {self.people} people, {self.steps} steps",
            "",
            f"{machine.device}; {machine.threads} threads, {machine.dtype}, VAE in {name_precision(self.models.vae.dtype)}; "
            f"torch {machine.torch}, diffusers {machine.diffusers}. "
            f"Ceiling, a large matrix product: {machine.ceiling_tflops:.4g} TFLOP/s. "
            f"Process with the models loaded: {machine.loaded_mib:.0f} MiB."
            + (" What is in float32 runs its convolutions in TF32." if machine.tf32 else "")
            + (f" Device memory held to {self.device_gib:g} GiB." if self.device_gib else "")
            + (f" All networks tuned: {'+'.join(self.tuning)}." if self.tuning else ""),
            "",
            markdown_table(COLUMNS, [cells_of(row) for row in rows]),
        ]
        largest = {each.name: each for each in sorted(all_runs, key=lambda each: area(each.size))}
        for name in sorted(largest, key=lambda name: (name != OURS, name != PLAIN)):
            runs = largest[name]
            rounds = ", ".join(f"{sum(stage.seconds for stage in stages):.2f}" for stages in runs.rounds)
            lines += ["", f"## {name}, {name_of(runs.size)}", "", f"Seconds of each round: {rounds}.", ""]
            stages = [stage_cells(stage, self.costs, machine.ceiling_tflops) for stage in runs.stages]
            lines.append(markdown_table(STAGE_COLUMNS, stages))
        return "\n".join(lines) + "\n"


def cells_of(row: Row) -> list[str]:
    return [
        row.method,
        row.size,
        f"{row.seconds:.2f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        "-" if row.max_difference is None else str(row.max_difference),
        str(row.evaluations),
        f"{row.tflop:.4g}",
        f"{row.achieved_tflops:.4g}",
        f"{row.ceiling_share:.0%}",
        f"{row.unet_seconds:.2f}",
        f"{row.unet_ceiling_share:.0%}",
        f"{row.peak_device_mib:.0f}",
        f"{row.peak_host_mib:.0f}",
    ]


def stage_cells(stage: StageCost, costs: UnitCosts, ceiling_tflops: float) -> list[str]:
    """`views' TFLOP` is the formula: evaluations times what a view costs, pose and prompt known.

    The count also has VAE and segmenter.
    """
    formula = stage.evaluations * costs.known_view / 1e12
    speed = stage.tflop / max(stage.seconds, 1e-9)
    return [
        name_of_stage(stage),
        f"{stage.seconds:.2f}",
        str(stage.evaluations),
        f"{stage.tflop:.4g}",
        f"{formula:.4g}",
        f"{speed:.4g}",
        f"{speed / ceiling_tflops:.0%}",
        f"{stage.unet_seconds:.2f}",
        f"{stage.unet_tflop / max(stage.unet_seconds, 1e-9) / ceiling_tflops:.0%}",
        f"{stage.peak_device_mib:.0f}",
        f"{stage.peak_host_mib:.0f}",
    ]


def plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """Seconds, and peak memory, against megapixels. matplotlib, of the `dev` extra, is loaded only here."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (time_axis, memory_axis) = plt.subplots(1, 2, figsize=(10, 3.8))
    for method in dict.fromkeys(row.method for row in rows):
        shown = [row for row in rows if row.method == method]
        megapixels = [megapixels_of(row.size) for row in shown]
        time_axis.plot(megapixels, [row.seconds for row in shown], "o-", label=method)
        memory_axis.plot(megapixels, [max(row.peak_device_mib, row.peak_host_mib) / 1024 for row in shown], "o-", label=method)
    time_axis.set(ylabel="seconds", yscale="log", title=title)
    memory_axis.set(ylabel="peak memory, GiB, of device or host", ylim=(0, None))
    for axis in (time_axis, memory_axis):
        axis.set(xlabel="megapixels", xscale="log")
        axis.grid(alpha=0.3, which="both")
    time_axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def megapixels_of(size: str) -> float:
    width, _, height = size.partition("x")
    return int(width) * int(height) / 1e6
