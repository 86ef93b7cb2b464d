"""Train the judge: python -m beyondscene.backend.evaluation.train_judge --work DIR --out JUDGE."""

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..cli import DONE, STOPPED, Parser, answer
from ..cli.arguments import amount
from ..machine import core_count
from ..training.checkpoints import Ema, Steps, half_precision, set_rate
from ..training.runs import JudgeRun, alone_in, check_numbers, claim, training_device
from ..training.under_way import OutOfTime, Report, Run, countdown, print_event, telling_of_files
from ..training.workers import worker_pool
from .judge import JOINTS, OFFSET_PX, STRIDE, JudgeConfig, JudgeNet, Maps, save_net, to_input
from .judge_data import SIDE_PX, Sample, draw_samples
from .keypoints import TORSO

_CELLS = SIDE_PX // STRIDE
_PEOPLE_WEIGHT = 1.5  # of regions of people over the background, which is most of the picture


class JudgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the judge is built and trained."""

    config: JudgeConfig = JudgeConfig()
    steps: int = 6000
    batch: int = 16
    learning_rate: float = 1.5e-3
    seed: int = 77  # the embedded model's is 0
    processes: int = 1  # that draw samples
    checkpoint_every: int = 200


Samples = Callable[[int, JudgeSettings], Iterator[list[Sample]]]


class Targets(msgspec.Struct, frozen=True):
    """people: (B, 19, h, w), 0 to 1. offsets: (B, 36, h, w), OFFSET_PX. known: (B, 36, h, w), 1 where offsets count."""

    people: Tensor
    offsets: Tensor
    known: Tensor
    regions: Tensor  # int64 (B, SIDE_PX, SIDE_PX)


def make_targets(samples: list[Sample], device: torch.device) -> Targets:
    """The maps that a perfect network would give."""
    joints = torch.from_numpy(np.stack([sample.joints for sample in samples])).to(device)  # (B, P, 18, 3)
    there = torch.from_numpy(np.stack([sample.there for sample in samples])).to(device)
    places, seen = joints[..., :2], joints[..., 2] * there[..., None]
    sizes = (places.amax(2) - places.amin(2)).amax(-1)  # (B, P), px
    middles = places[:, :, list(TORSO)].mean(2, keepdim=True)
    points = torch.cat([middles, places], 2) / STRIDE - 0.5  # (B, P, 19, 2), cells
    grid = torch.arange(_CELLS, device=device, dtype=torch.float32)
    spread = (0.035 * sizes / STRIDE).clamp(0.8, 2.0)[..., None, None]
    across = torch.exp(-((grid - points[..., :1]) ** 2) / (2 * spread**2))  # (B, P, 19, w)
    down = torch.exp(-((grid - points[..., 1:]) ** 2) / (2 * spread**2))
    weights = torch.cat([there[..., None].float(), seen], 2)
    heat = torch.einsum("bpjh,bpjw->bpjhw", down * weights[..., None], across)
    offsets = torch.zeros(len(samples), 2 * JOINTS, _CELLS, _CELLS, device=device)
    known = torch.zeros_like(offsets)
    cells = (grid + 0.5) * STRIDE
    for person in range(places.shape[1]):  # far to near: a cell belongs to whoever is nearest
        own = (heat[:, person, 0] > 0.5)[:, None]  # (B, 1, h, w)
        x = places[:, person, :, 0, None, None] - cells[None, None, None, :]
        y = places[:, person, :, 1, None, None] - cells[None, None, :, None]
        both = torch.stack(torch.broadcast_tensors(x, y), 2).flatten(1, 2) / OFFSET_PX
        offsets, known = torch.where(own, both, offsets), torch.where(own, 1.0, known)
    regions = torch.from_numpy(np.stack([sample.regions for sample in samples]).astype(np.int64)).to(device)
    return Targets(heat.amax(1), offsets, known, regions)


def judge_loss(maps: Maps, targets: Targets) -> Tensor:
    """Focal loss on heat with soft targets (arXiv 2006.04388), L1 on offsets, cross entropy on regions."""
    logits = maps.people.float()
    error = (targets.people - logits.sigmoid()).abs() ** 2
    heat = (error * F.binary_cross_entropy_with_logits(logits, targets.people, reduction="none")).sum()
    people = targets.known[:, 0].sum().clamp(min=1) / 4  # a person has a few cells
    offsets = ((maps.offsets.float() - targets.offsets).abs() * targets.known).sum() / targets.known.sum().clamp(min=1)
    regions = F.interpolate(maps.regions.float(), scale_factor=STRIDE, mode="bilinear")
    weights = torch.full((regions.shape[1],), _PEOPLE_WEIGHT, device=logits.device)
    weights[0] = 1.0
    return heat / people / 10 + offsets + F.cross_entropy(regions, targets.regions, weights)


def prefetch(first: int, settings: JudgeSettings) -> Iterator[list[Sample]]:
    """The samples of step `first` and on, drawn by other processes a few steps ahead."""
    with worker_pool(settings.processes) as pool:
        waiting: deque[Future[list[Sample]]] = deque()
        for step in range(first, settings.steps):
            waiting.append(pool.submit(draw_samples, step, settings.batch, settings.seed))
            if len(waiting) > 2 * settings.processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def train_judge(
    settings: JudgeSettings,
    folder: Path,
    device: torch.device,
    samples: Samples,
    report: Report,
    time_left_s: Callable[[], float],
) -> JudgeNet:
    """Train with checkpoints under `folder`; return the averaged network.

    samples: called with the first step to do; gives the samples of each step (`prefetch`). Raises OutOfTime, and RunError where
    `folder` is in use or another run's, or where a number means nothing.
    """
    check_numbers(seed=settings.seed, steps=settings.steps, batch=settings.batch, processes=settings.processes)
    claim(folder, describe_run(settings))
    run = Run(folder, settings.seed, device, report, time_left_s)
    with alone_in(folder):
        return learn(run, settings, samples)


def learn(run: Run, settings: JudgeSettings, samples: Samples) -> JudgeNet:
    """As `train_judge`, in a folder that is claimed."""
    device = run.device
    torch.manual_seed(settings.seed)
    net = JudgeNet(settings.config).to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=0.02)
    ema = Ema(net, 0.995)
    left = Steps(run, "judge", net, ema, optimizer, settings.steps, settings.checkpoint_every)
    start = time.perf_counter()
    for step, batch in zip(left, samples(left.done, settings), strict=False):
        pictures = to_input(np.stack([sample.picture for sample in batch]), device)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=100)
        with half_precision(device):
            maps = net(pictures)
        loss = judge_loss(maps, make_targets(batch, device))
        left.learn(loss, most=5.0)
        if (step + 1) % 20 == 0:
            seconds = round(time.perf_counter() - start, 1)
            run.report(
                {"stage": "judge", "step": step + 1, "of": settings.steps, "loss": float(loss.detach()), "seconds": seconds}
            )
    ema.copy_to(net)
    net.config = msgspec.structs.replace(settings.config, steps=left.done, batch=settings.batch)
    return net.eval()


def describe_run(settings: JudgeSettings) -> JudgeRun:
    """What another call must have in common to go on with this one's checkpoint."""
    sizes = msgspec.structs.replace(settings.config, steps=0, batch=0)
    return JudgeRun(seed=settings.seed, batch=settings.batch, network=msgspec.to_builtins(sizes))


def main() -> int:
    """Exit code 0 where the judge is finished and written, 3 where time ran out: run again to go on."""
    parser = Parser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished judge, for `evaluate --judge`")
    parser.add_argument("--minutes", type=amount, help=f"stop after so long with exit code {STOPPED}")
    parser.add_argument("--steps", type=int, default=JudgeSettings().steps)
    parser.add_argument("--batch", type=int, default=JudgeSettings().batch)
    parser.add_argument("--processes", type=int, default=max(1, core_count() - 1), help="that draw samples")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--seed", type=int, default=JudgeSettings().seed)
    args = parser.parse_args()
    return answer(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    settings = JudgeSettings(steps=args.steps, batch=args.batch, processes=args.processes, seed=args.seed)
    time_left_s, device = countdown(args.minutes), training_device(args.device)
    try:
        with telling_of_files():
            net = train_judge(settings, args.work, device, prefetch, print_event, time_left_s)
            save_net(net, args.out)
    except OutOfTime:
        return STOPPED
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
