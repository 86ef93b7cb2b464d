"""Run methods A B A B at one size after another, and tell what each costs after every picture."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

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
Tuning = tuple[str, ...]  # of `models.tune`, at once
Tell = Callable[[str], None]


class Row(Struct, frozen=True, kw_only=True):
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

    first: what an untimed picture of one step cost, which holds first calls.
    """

    method: str  # with its variant
    size: Size
    tuning: Tuning = ()
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
    counter = Counter(models)
    entries = [*((method, ()) for method in methods), *((OURS, tuning) for tuning in tunings)]
    runs: list[Runs] = []
    broken: list[str] = [] if faults is None else faults

    def has_time(one: Runs, what: str) -> bool:
        whole = make_request(models, one, people, steps)[1]
        if time.time() + expect_seconds(one, runs, whole.settings.steps or 1, ceiling_flops) <= deadline_s:
            return True
        tell(f"left out for want of time: {one.name}, {name_of(one.size)}, {what}")
        return False

    def attempt(one: Runs, what: str, *, first: bool = False) -> list[StageCost]:
        """Nothing where it breaks off."""
        tell(f"{one.name}, {name_of(one.size)}, {what}")
        try:
            with tuned(models, one.tuning):
                return draw(models, counter, one, *make_request(models, one, people, steps, first=first), tell)
        except Exception as error:  # out of memory, or what a library lacks on this device
            tell(f"{one.name}, {name_of(one.size)}: broke off with {type(error).__name__}: {error}")
            broken.append(one.name)
        free_cached()  # out here, where no traceback holds the tensors any more
        return []

    for size in sizes:
        here = [one for one in (Runs(method, size, tuning) for method, tuning in entries) if one.name not in broken]
        runs += here
        for number in range(1, rounds + 1):
            for one in here:
                if one.name in broken or not has_time(one, f"round {number}"):
                    continue
                if warm_up and not one.first:
                    one.first = attempt(one, "untimed", first=True)
                    if one.name in broken or not has_time(one, f"round {number}"):
                        continue
                costs = attempt(one, f"round {number} of {rounds}")
                if costs:
                    one.rounds.append(costs)
                yield [each for each in runs if each.rounds]


def expect_seconds(one: Runs, runs: list[Runs], steps: int, ceiling_flops: float) -> float:
    """As long as the last picture; or, before the first one, what the networks take for all steps at a usual speed, and the
    other stages as long as with one step. Where nothing is known yet, eight times as long as at the size before for four
    times the pixels: every method that draws a large picture has more views or levels, or longer attention."""
    if one.rounds:
        return one.seconds
    if one.first:
        taken = max(1.0, steps * (LEVEL_SHARE if one.method.partition("+")[0] in (OURS, PLAIN) else 1.0))
        seconds_per_tflop = taken * 1e12 / (SPEED * ceiling_flops)
        return sum(stage.tflop * seconds_per_tflop if stage.evaluations else stage.seconds for stage in one.first)
    smaller = [other for other in runs if other.name == one.name and other.rounds]
    return smaller[-1].seconds * (area(one.size) / area(smaller[-1].size)) ** 1.5 if smaller else 0.0


def make_request(
    models: Models, one: Runs, people: int, steps: int | None, *, first: bool = False
) -> tuple[str, RenderRequest]:
    """The method's name, and what it is to draw. steps: None for those of the model set or the variant. first: one step."""
    request = bench_request(people, *one.size)
    name, settings = read_variant(OURS if one.method == PLAIN else one.method, replace(request.settings, steps=steps))
    settings = resolve_settings(settings, models.model_set)
    return name, replace(request, settings=replace(settings, steps=1) if first else settings)


def draw(models: Models, counter: Counter, one: Runs, name: str, request: RenderRequest, tell: Tell) -> list[StageCost]:
    """What one picture by the method `name` cost; the picture itself is kept in `one` where it will be compared."""
    meter = Meter(counter, models.device, lambda cost: tell(f"  {name_of_stage(cost)}: {cost.seconds:.1f} s"))
    method = load_method(name)
    with drawing_plainly() if one.method == PLAIN else nullcontext(), meter.measuring():
        picture = method(models, request, meter)
    one.picture = picture if one.method in (OURS, PLAIN) else None
    return meter.costs


def name_of_stage(cost: StageCost) -> str:
    return f"{cost.stage} {cost.level}" if cost.level else cost.stage


def summarise(runs: list[Runs], ceiling_flops: float) -> list[Row]:
    """A row per method and size; ours at the largest size last."""
    plain = {one.size: one for one in runs if one.method == PLAIN}
    rows = [(one, make_row(one, plain.get(one.size), ceiling_flops)) for one in runs]
    return [row for _, row in sorted(rows, key=lambda pair: (area(pair[0].size), pair[0].name == OURS))]


def make_row(one: Runs, plain: Runs | None, ceiling_flops: float) -> Row:
    stages, difference = one.stages, None
    if plain is not None and one.picture is not None and plain.picture is not None:
        difference = largest_difference(one.picture, plain.picture)
    tflop, unet_tflop, unet_seconds = (sum(getattr(stage, name) for stage in stages) for name in SUMS)
    return Row(
        method=one.name,
        size=name_of(one.size),
        seconds=significant(one.seconds),
        plain_seconds=None if plain is None else significant(plain.seconds),
        ratio=None if plain is None else significant(plain.seconds / one.seconds),
        max_difference=difference,
        evaluations=sum(stage.evaluations for stage in stages),
        tflop=significant(tflop),
        achieved_tflops=significant(tflop / one.seconds),
        ceiling_share=significant(tflop * 1e12 / one.seconds / ceiling_flops),
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
