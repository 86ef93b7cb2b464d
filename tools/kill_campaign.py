"""Kill workers and gateways with SIGKILL while jobs run, for as long as is wished, and print what it cost.

    python tools/kill_campaign.py [--seconds 300] [--kills 500] [--seed 0] [--log KILLS.jsonl] [--plot OUT.png]

A log is gone on with: the table and the plot are then of all campaigns in it.

The pictures are painted by the tests' stand-in, 40 steps of 10 ms each with a checkpoint every 5. What is counted is read
from the ledger, the pictures and the log of steps on the disk. The last column counts the accepted jobs that waited or ran
when a gateway was killed: a queue in memory would have lost each of them.
"""

import argparse
import random
import statistics
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import msgspec
import psutil
from beyondscene.protocol import Accepted, Finished, JobsListed, ListJobs, Progressed, Started, Subscribe
from beyondscene.tests.backend.serving.audit import audit, redone
from beyondscene.tests.backend.serving.stand_in_worker import UNIT_STEPS
from beyondscene.tests.backend.serving.talk import Running, Talk, picture
from msgspec import Struct

STEPS = 40
QUEUED = 3  # jobs that wait or run at any time
TARGETS = ("worker", "gateway", "both")
PATIENCE_S = 300.0  # the campaign gives way to whatever else the machine does


class Kill(Struct, tag=True, kw_only=True):
    """One kill and what it has cost."""

    target: str
    at_stake: int  # jobs that waited or ran when their gateway was killed; 0 where only the worker was
    lost: int  # of these, those that the next gateway does not know
    steps_redone: int
    back_s: float  # from the kill to a step that had not been done before


class Run(Struct, tag=True, kw_only=True):
    """What the disk says after one campaign."""

    accepted: int
    lost: int
    duplicated: int
    pictures: int  # different ones; all jobs ask for the same


class Campaign:
    def __init__(self, folder: Path, seed: int, log: BinaryIO) -> None:
        self.dice = random.Random(seed)
        self.gateway = Running(folder)
        self.talk = Talk(self.gateway.connection())
        self.talk.greet()
        self.jobs: list[str] = []
        self.live: set[str] = set()
        self.log = log

    def run(self, seconds: float, kills: int) -> None:
        end_s = time.monotonic() + seconds
        for _ in range(kills):
            if time.monotonic() > end_s:
                break
            self.fill()
            self.hear_until(Progressed)
            self.hear_for(self.dice.uniform(0, 1.2 * STEPS * 0.01))
            self.strike(self.dice.choice(TARGETS))
        self.finish_all()
        self.gateway.process.terminate()
        self.gateway.process.communicate()

    def strike(self, target: str) -> None:
        before, at_stake, lost = redone(self.gateway.data_folder).total(), 0, 0
        workers = psutil.Process(self.gateway.process.pid).children()
        killed_s = time.monotonic()
        if target != "gateway":
            for worker in workers:
                worker.kill()
        if target != "worker":
            self.gateway.kill()
            at_stake = len(self.live)
            self.talk.close()
            self.gateway = Running(self.gateway.folder)
            self.talk = Talk(self.gateway.connection())
            self.talk.greet()
            self.talk.say(ListJobs(limit=1000))
            lost = len(self.live - {job.job_id for job in self.talk.hear_until(JobsListed, timeout_s=PATIENCE_S).jobs})
            for job_id in self.live:
                self.talk.say(Subscribe(job_id=job_id))
        self.fill()
        self.hear_until(Started)
        self.hear_until(Progressed)
        back_s = time.monotonic() - killed_s
        self.hear_for(UNIT_STEPS * 0.01)  # what was done before the kill and not kept is done again by then
        steps_redone = redone(self.gateway.data_folder).total() - before
        kill = Kill(target=target, at_stake=at_stake, lost=lost, steps_redone=steps_redone, back_s=back_s)
        self.log.write(msgspec.json.encode(kill) + b"\n")
        self.log.flush()

    def fill(self) -> None:
        while len(self.live) < QUEUED:
            job_id = self.talk.submit(picture(seed=5, steps=STEPS))
            self.talk.hear_until(Accepted, job_id)
            self.take()
            self.jobs.append(job_id)
            self.live.add(job_id)

    def finish_all(self) -> None:
        while self.live:
            self.hear_until(Finished)

    def hear_until(self, kind: type) -> None:
        while not isinstance(event := self.talk.hear(PATIENCE_S), kind):
            assert event is not None, f"no {kind.__name__} in {PATIENCE_S:.0f} s"
            self.take()
        self.take()

    def hear_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.talk.hear(left_s)
            self.take()

    def take(self) -> None:
        """Note which jobs have ended."""
        self.live -= {event.job_id for event in self.talk.heard if isinstance(event, Finished)}
        self.talk.heard.clear()


def read_log(path: Path) -> tuple[list[Kill], list[Run]]:
    lines = [msgspec.json.decode(line, type=Kill | Run) for line in path.read_bytes().splitlines()]
    return [one for one in lines if isinstance(one, Kill)], [one for one in lines if isinstance(one, Run)]


def print_table(kills: list[Kill], runs: list[Run]) -> None:
    print("| killed | kills | steps redone per kill, mean / most | progress again, median / most | jobs at stake |")
    print("|---|---|---|---|---|")
    for target in TARGETS:
        of_target = [kill for kill in kills if kill.target == target]
        if of_target:
            steps, back = [kill.steps_redone for kill in of_target], [kill.back_s for kill in of_target]
            print(
                f"| {target} | {len(of_target)} | {statistics.mean(steps):.1f} / {max(steps)} of {UNIT_STEPS} | "
                f"{statistics.median(back):.1f} / {max(back):.1f} s | {sum(kill.at_stake for kill in of_target)} |"
            )
    accepted, lost, duplicated = (sum(getattr(run, name) for run in runs) for name in ("accepted", "lost", "duplicated"))
    pictures = max(run.pictures for run in runs)
    alike = "all pictures the same" if pictures == 1 else f"{pictures} different pictures, but all jobs asked for the same"
    print(f"\n{accepted} jobs accepted, {lost} lost, {duplicated} duplicated, {alike}.")


def plot(kills: list[Kill], path: Path) -> None:
    """Kills of the gateway against jobs lost: here, and in a queue that lives in memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    of_gateways = [kill for kill in kills if kill.target != "worker"]
    counts = range(len(of_gateways) + 1)
    at_stake, lost = (
        list(accumulate(values, initial=0)) for values in zip(*((k.at_stake, k.lost) for k in of_gateways), strict=True)
    )
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    axis.plot(counts, at_stake, color="tab:gray", label="a queue in memory (jobs that waited or ran)")
    axis.plot(counts, lost, color="tab:blue", lw=2.5, label="this backend")
    axis.set(xlabel="gateways killed with SIGKILL", ylabel="accepted jobs lost", xlim=(0, len(of_gateways)))
    axis.margins(y=0.08)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--kills", type=int, default=1_000_000, help="end after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="one JSON line per kill, appended")
    parser.add_argument("--plot", type=Path, metavar="OUT.png")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.log or Path(folder) / "kills.jsonl"
        with path.open("ab") as log:
            campaign = Campaign(Path(folder), args.seed, log)
            campaign.run(args.seconds, args.kills)
            states = audit(campaign.gateway.data_folder)
            finished = {job_id for job_id, state in states.items() if state == "finished"}
            run = Run(
                accepted=len(campaign.jobs),
                lost=len(set(campaign.jobs) - finished),
                duplicated=len(set(states) - set(campaign.jobs)),
                pictures=len({one.read_bytes() for one in (campaign.gateway.data_folder / "results").iterdir()}),
            )
            log.write(msgspec.json.encode(run) + b"\n")
        kills, runs = read_log(path)
    print_table(kills, runs)
    if args.plot:
        plot(kills, args.plot)
    return int(bool(run.lost or run.duplicated or run.pictures != 1))


if __name__ == "__main__":
    raise SystemExit(main())
