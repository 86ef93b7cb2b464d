"""Run methods A B A B at one size after another, and tell what each costs after every picture."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict, replace

from ...protocol import RenderRequest
from ..evaluation.methods import load_method
from ..evaluation.variants import read_variant
from ..memory import free_cached
from ..models.load import Models
from ..planning.resolve import resolve_settings
from .count import Counter
from .meter import Meter, StageCost
from .plain import drawing_plainly
from .scene import bench_request
from .tune import tuned

OURS, PLAIN = "beyondscene", "plain"
LEVEL_SHARE = 0.7  # of the steps, that our enlarged levels take
SUMS = ("tflop", "unet_tflop", "unet_seconds")
SPEED = 0.45  # of the ceiling, at which networks run as far as is known before the first picture

Size = tuple[int, int]  # width, height in pixels
Tuning = tuple[str, ...]  # of `tune.TUNINGS`, at once
Tell = Callable[[str], None]


class Setup(Struct, frozen=True, kw_only=True):
    """What all rows of a run have in common. models: name of the set. machine: name of the GPU or processor.

    precision: of the large networks; the VAE's is in the tables.
    """

    models: str
    machine: str
    precision: str
    people: int


class Row(Setup, frozen=True, kw_only=True):
    """One method at one size. None where it was not measured.

    seconds: of the fastest round; others hold the first calls, and on a shared machine other people's work.
    plain_seconds: of the plain loop in the same run. ratio: plain_seconds / seconds. max_difference: from the plain loop's
    picture, in 8-bit levels, for the method that draws the same one.
    evaluations: of the UNet, a guided pair counts twice. achieved_tflops: 10^12 operations per second over the whole picture.
    ceiling_share: of the device's measured matrix product; unet_ceiling_share: the same within the UNet alone, which takes
    unet_seconds. peak_*: of the whole process, weights included.
    """

    method: str
    size: str
    steps: int
    seconds: float
    plain_seconds: float | None
    ratio: float | None
    max_difference: int | None
    evaluations: int
    tflop: float
    achieved_tflops: float
    ceiling_share: float
    unet_seconds: float
    unet_ceiling_share: float
    peak_device_mib: float
    peak_host_mib: float


@dataclass
class Runs:
    """All rounds of one method at one size.

    first: what an untimed picture of one step cost, which holds first calls. steps: of its request.
    """

    method: str  # with its variant
    size: Size
    tuning: Tuning = ()
    steps: int = 0
    first: list[StageCost] = field(default_factory=list)
    rounds: list[list[StageCost]] = field(default_factory=list)
    picture: np.ndarray | None = None

    @property
    def name(self) -> str:
        return f"{self.method} ({'+'.join(self.tuning)})" if self.tuning else self.method

    @property
    def stages(self) -> list[StageCost]:
        """Of the fastest round."""
        return min(self.rounds, key=total_seconds)

    @property
    def seconds(self) -> float:
        return total_seconds(self.stages)


def total_seconds(stages: list[StageCost]) -> float:
    return sum(stage.seconds for stage in stages)


def bench(
    models: Models, methods: list[str], sizes: list[Size], *, people: int, steps: int | None, rounds: int, tell: Tell,
    ceiling_flops: float, deadline_s: float = float("inf"), tunings: Sequence[Tuning] = (), warm_up: bool = True,
    faults: list[str] | None = None,
) -> Iterator[list[Runs]]:  # fmt: skip
    """All runs so far, after each picture.

    methods: of the evaluation, or variants of them, and PLAIN. tunings: with each of these our method runs once more.
    deadline_s: seconds since the epoch; no picture is begun that would, by what is known, end later.
    warm_up: before its first round at a size a method draws a picture of one step untimed, so that no round holds first calls.
    What breaks off is told, and left out from then on: the others are measured all the same.
    """
    entries = [*((method, ()) for method in methods), *((OURS, tuning) for tuning in tunings)]
    workbench = Bench(models, Counter(models), people, steps, ceiling_flops, deadline_s, tell, [] if faults is None else faults)
    for size in sizes:
        for number, runs in workbench.plan_rounds(size, entries, rounds):
            if workbench.draw_round(runs, number, rounds, warm_up):
                yield [each for each in workbench.runs if each.rounds]


@dataclass
class Bench:
    """What is shared by all runs that are measured side by side. broken: names of those that broke off."""

    models: Models
    counter: Counter
    people: int
    steps: int | None
    ceiling_flops: float
    deadline_s: float
    tell: Tell
    broken: list[str]
    runs: list[Runs] = field(default_factory=list)

    def plan_rounds(self, size: Size, entries: Sequence[tuple[str, Tuning]], rounds: int) -> Iterator[tuple[int, Runs]]:
        """A B A B: the number of each round, from 1 on, and whose turn it is."""
        here = [Runs(method, size, tuning) for method, tuning in entries]
        here = [runs for runs in here if runs.name not in self.broken]
        for runs in here:
            runs.steps = make_request(self.models, runs, self.people, self.steps)[1].settings.steps or 1
        self.runs += here
        for number in range(1, rounds + 1):
            yield from ((number, runs) for runs in here)

    def draw_round(self, runs: Runs, number: int, rounds: int, warm_up: bool) -> bool:
        """Draw one picture more, if it may be; whether that was tried."""
        if not self.may_draw(runs, number):
            return False
        if warm_up and not runs.first:
            runs.first = self.attempt(runs, "untimed", first=True)
            if not self.may_draw(runs, number):
                return False
        costs = self.attempt(runs, f"round {number} of {rounds}")
        if costs:
            runs.rounds.append(costs)
        return True

    def may_draw(self, runs: Runs, number: int) -> bool:
        """Whether it has not broken off, and there is time for it."""
        if runs.name in self.broken:
            return False
        if time.time() + expect_seconds(runs, self.runs, self.ceiling_flops) <= self.deadline_s:
            return True
        self.tell(f"left out for want of time: {runs.name}, {name_of(runs.size)}, round {number}")
        return False

    def attempt(self, runs: Runs, what: str, *, first: bool = False) -> list[StageCost]:
        """What a picture cost; nothing where it breaks off."""
        self.tell(f"{runs.name}, {name_of(runs.size)}, {what}")
        try:
            with tuned(self.models, runs.tuning):
                name, request = make_request(self.models, runs, self.people, self.steps, first=first)
                return draw(self.models, self.counter, runs, name, request, self.tell)
        except Exception as error:  # out of memory, or what a library lacks on this device
            self.tell(f"{runs.name}, {name_of(runs.size)}: broke off with {type(error).__name__}: {error}")
            self.broken.append(runs.name)
        free_cached()  # out here, where no traceback holds the tensors any more
        return []


def expect_seconds(runs: Runs, others: list[Runs], ceiling_flops: float) -> float:
    """As long as the last picture; or, before the first one, what the networks take for all steps at a usual speed, and the
    other stages as long as with one step. Where nothing is known yet, eight times as long as at the size before for four
    times the pixels: every method that draws a large picture has more views or levels, or longer attention."""
    if runs.rounds:
        return runs.seconds
    if runs.first:
        taken = max(1.0, runs.steps * (LEVEL_SHARE if runs.method.partition("+")[0] in (OURS, PLAIN) else 1.0))
        seconds_per_tflop = taken * 1e12 / (SPEED * ceiling_flops)
        return sum(stage.tflop * seconds_per_tflop if stage.evaluations else stage.seconds for stage in runs.first)
    smaller = [other for other in others if other.name == runs.name and other.rounds]
    return smaller[-1].seconds * (area(runs.size) / area(smaller[-1].size)) ** 1.5 if smaller else 0.0


def make_request(
    models: Models, runs: Runs, people: int, steps: int | None, *, first: bool = False
) -> tuple[str, RenderRequest]:
    """The method's name, and what it is to draw. steps: None for those of the model set or the variant. first: one step."""
    request = bench_request(people, *runs.size)
    name, settings = read_variant(OURS if runs.method == PLAIN else runs.method, replace(request.settings, steps=steps))
    settings = resolve_settings(settings, models.model_set)
    return name, replace(request, settings=replace(settings, steps=1) if first else settings)


def draw(models: Models, counter: Counter, runs: Runs, name: str, request: RenderRequest, tell: Tell) -> list[StageCost]:
    """What one picture by the method `name` cost; the picture itself is kept in `runs` where it will be compared."""
    meter = Meter(counter, models.device, lambda cost: tell(f"  {name_of_stage(cost)}: {cost.seconds:.1f} s"))
    method = load_method(name)
    with drawing_plainly() if runs.method == PLAIN else nullcontext(), meter.measuring():
        picture = method(models, request, {}, meter)
    runs.picture = picture if runs.method in (OURS, PLAIN) else None
    return meter.costs


def name_of_stage(cost: StageCost) -> str:
    return f"{cost.stage} {cost.level}" if cost.level else cost.stage


def summarise(all_runs: list[Runs], setup: Setup, ceiling_flops: float) -> list[Row]:
    """A row per method and size; ours at the largest size last."""
    plain = {runs.size: runs for runs in all_runs if runs.method == PLAIN}
    in_order = sorted(all_runs, key=lambda runs: (area(runs.size), runs.name == OURS))
    return [make_row(runs, plain.get(runs.size), setup, ceiling_flops) for runs in in_order]


def make_row(runs: Runs, plain: Runs | None, setup: Setup, ceiling_flops: float) -> Row:
    stages, difference = runs.stages, None
    if plain is not None and runs.picture is not None and plain.picture is not None:
        difference = largest_difference(runs.picture, plain.picture)
    tflop, unet_tflop, unet_seconds = (sum(getattr(stage, name) for stage in stages) for name in SUMS)
    return Row(
        **asdict(setup),
        method=runs.name,
        size=name_of(runs.size),
        steps=runs.steps,
        seconds=significant(runs.seconds),
        plain_seconds=None if plain is None else significant(plain.seconds),
        ratio=None if plain is None else significant(plain.seconds / runs.seconds),
        max_difference=difference,
        evaluations=sum(stage.evaluations for stage in stages),
        tflop=significant(tflop),
        achieved_tflops=significant(tflop / runs.seconds),
        ceiling_share=significant(tflop * 1e12 / runs.seconds / ceiling_flops),
        unet_seconds=significant(unet_seconds),
        unet_ceiling_share=significant(unet_tflop * 1e12 / max(unet_seconds, 1e-9) / ceiling_flops),
        peak_device_mib=round(max(stage.peak_device_mib for stage in stages), 1),
        peak_host_mib=round(max(stage.peak_host_mib for stage in stages), 1),
    )


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    """Between two uint8 pictures of one size, a band at a time: at 8192x8192 a signed copy of the whole would be large."""
    bands = range(0, len(one), 256)
    return max(int(np.abs(one[at : at + 256].astype(np.int16) - other[at : at + 256]).max()) for at in bands)


def significant(value: float) -> float:
    """To five digits: sizes and machines lie orders of magnitude apart."""
    return float(f"{value:.5g}")


def area(size: Size) -> int:
    return size[0] * size[1]


def name_of(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
