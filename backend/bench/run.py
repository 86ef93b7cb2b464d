"""Run methods A B A B at one size after another, and tell what each costs after every picture."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..evaluation.methods import load_method
from ..evaluation.variants import read_variant
from ..memory import free_cached
from ..models.load import Models
from ..models.tune import tuned
from ..planning.settle import settle
from .count import Counter
from .meter import Meter, StageCost
from .plain import drawing_plainly
from .scene import bench_request

OURS, PLAIN = "beyondscene", "plain"

Size = tuple[int, int]  # width, height in pixels
Tell = Callable[[str], None]


class Row(Struct, frozen=True, kw_only=True):
    """One method at one size. None where it was not measured.

    seconds: of the fastest round; others hold the first calls, and on a shared machine other people's work.
    plain_seconds: of the plain loop in the same run. ratio: plain_seconds / seconds. max_difference: from the plain loop's
    picture, in 8-bit levels, for the method that draws the same one.
    evaluations: of the UNet, a guided pair counts twice. achieved_tflops: 10^12 operations per second over the whole picture.
    ceiling_share: of the device's measured matrix product. peak_*: of the whole process, weights included.
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
    peak_device_mib: float
    peak_host_mib: float


@dataclass
class Runs:
    """All rounds of one method at one size."""

    method: str  # with its variant
    size: Size
    rounds: list[list[StageCost]] = field(default_factory=list)
    picture: np.ndarray | None = None

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
    models: Models, methods: list[str], sizes: list[Size], *, people: int, steps: int | None, rounds: int, minutes: float,
    tell: Tell, tunings: Sequence[str] = (), faults: list[str] | None = None,
) -> Iterator[list[Runs]]:  # fmt: skip
    """All runs so far, after each picture. No picture is begun that would, going by the last one, end after `minutes`.

    methods: of the evaluation, or variants of them, and PLAIN. tunings: of our networks; what is compared with us runs them as
    they are. What breaks off is told, and left out from then on: the others are measured all the same.
    """
    counter, deadline_s = Counter(models), time.monotonic() + 60 * minutes
    runs: list[Runs] = []
    broken: list[str] = [] if faults is None else faults
    for size in sizes:
        here = [Runs(method, size) for method in methods if method not in broken]
        runs += here
        for number in range(rounds):
            for one in [one for one in here if one.method not in broken]:
                expected_s = expect_seconds(one, runs)
                if time.monotonic() + expected_s > deadline_s:
                    tell(f"left out for want of time: {one.method}, {name_of(size)}, round {number + 1}")
                    continue
                tell(f"{one.method}, {name_of(size)}, round {number + 1} of {rounds}")
                try:
                    with tuned(models, tunings if is_ours(one.method) else ()):
                        draw(models, counter, one, people, steps)
                except Exception as error:  # out of memory, or what a library lacks on this device
                    tell(f"{one.method}, {name_of(size)}: broke off with {type(error).__name__}: {error}")
                    broken.append(one.method)
                if one.method in broken:
                    free_cached()  # out here, where no traceback holds the tensors any more
                yield [each for each in runs if each.rounds]


def is_ours(method: str) -> bool:
    return method.partition("+")[0] == OURS


def expect_seconds(one: Runs, runs: list[Runs]) -> float:
    """As long as it took last time; or eight times as long as at the size before for four times the pixels, since every method
    that draws a large picture has more views or levels, or longer attention."""
    if one.rounds:
        return one.seconds
    smaller = [other for other in runs if other.method == one.method and other.rounds]
    return smaller[-1].seconds * (area(one.size) / area(smaller[-1].size)) ** 1.5 if smaller else 0.0


def draw(models: Models, counter: Counter, one: Runs, people: int, steps: int | None) -> None:
    """One picture; what it cost is added to `one`."""
    request = bench_request(people, *one.size)
    settings = replace(request.settings, steps=steps)
    name, settings = read_variant(OURS if one.method == PLAIN else one.method, settings)
    request = replace(request, settings=settle(settings, models.model_set))
    meter = Meter(counter, models.device)
    method = load_method(name)
    with drawing_plainly() if one.method == PLAIN else nullcontext(), meter.measuring():
        picture = method(models, request, meter)
    one.rounds.append(meter.costs)
    one.picture = picture if one.method in (OURS, PLAIN) else None


def summarise(runs: list[Runs], ceiling_flops: float) -> list[Row]:
    """A row per method and size; ours at the largest size last."""
    plain = {one.size: one for one in runs if one.method == PLAIN}
    rows = [(one, make_row(one, plain.get(one.size), ceiling_flops)) for one in runs]
    return [row for _, row in sorted(rows, key=lambda pair: (area(pair[0].size), pair[0].method == OURS))]


def make_row(one: Runs, plain: Runs | None, ceiling_flops: float) -> Row:
    stages, difference = one.stages, None
    if plain is not None and one.picture is not None and plain.picture is not None:
        difference = largest_difference(one.picture, plain.picture)
    tflop = sum(stage.tflop for stage in stages)
    return Row(
        method=one.method,
        size=name_of(one.size),
        seconds=significant(one.seconds),
        plain_seconds=None if plain is None else significant(plain.seconds),
        ratio=None if plain is None else significant(plain.seconds / one.seconds),
        max_difference=difference,
        evaluations=sum(stage.evaluations for stage in stages),
        tflop=significant(tflop),
        achieved_tflops=significant(tflop / one.seconds),
        ceiling_share=significant(tflop * 1e12 / one.seconds / ceiling_flops),
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
