"""Run a backend under work and random faults for long, then audit what is on the disk, and print one table.

    python tools/soak.py [--seconds 7200] [--jobs 500] [--fault-every 20] [--workers 2] [--seed 0]

The jobs are spread over the time and painted by the tests' stand-in, 40 steps of 10 ms each with a checkpoint every 5. The
gateway is killed in the first third only: the rest shows what one gateway holds in memory and open files over time.
The exit code tells whether every rule was kept.
"""

import argparse
import math
import os
import random
import statistics
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import psutil
from beyondscene.backend.gateway.ledger import DurableEvent
from beyondscene.protocol import Cancel, Cancelled, Failed, Finished, Submit, Subscribe, digest_of
from beyondscene.protocol.messages import Message
from beyondscene.tests.backend.serving.audit import audit, redone, told
from beyondscene.tests.backend.serving.stand_in_worker import UNIT_STEPS
from beyondscene.tests.backend.serving.talk import Running, Talk, picture
from soak_faults import EARLY, FAULTS, PATIENCE_S

STEPS = 40
SEEDS = 5  # as many different pictures
SAMPLE_S = 5.0
SILENCE_S = 8.0  # after which a frozen worker counts as dead
MIB = 2**20
ENDINGS = Finished | Failed | Cancelled


class Sample:
    """What one gateway process holds at a time."""

    def __init__(self, process: psutil.Process, at_s: float) -> None:
        self.pid = process.pid
        self.at_s = at_s
        self.memory_bytes = process.memory_info().rss
        self.files = process.num_fds()


class Soak:
    """One client that wants pictures and keeps what it is told, while things are broken."""

    def __init__(self, folder: Path, seed: int, workers: int) -> None:
        self.dice = random.Random(seed)
        self.folder = folder
        self.workers = workers
        self.submits: dict[str, Submit] = {}
        self.told: dict[str, list[Message]] = {}  # the durable events of each job
        self.cancelled: set[str] = set()  # jobs whose end was wished for
        self.broken: list[str] = []  # rules
        self.faults = Counter[str]()
        self.samples: list[Sample] = []
        self.idlers: list[Talk] = []  # clients that ask and do not read, until the next fault
        self.gateway = self.start()
        self.talk = self.open()

    def run(self, seconds: float, jobs: int, fault_every_s: float) -> None:
        start_s = time.monotonic()
        job_s = fault_s = sample_s = start_s
        while len(self.submits) < jobs or self.live():
            now_s = time.monotonic()
            if now_s >= job_s and len(self.submits) < jobs:
                job_s += seconds / jobs
                self.submit()
            if now_s >= fault_s + fault_every_s and now_s < start_s + seconds:
                fault_s = now_s
                self.strike(early=now_s < start_s + seconds / 3)
            if now_s >= sample_s:
                sample_s = now_s + SAMPLE_S
                self.samples.append(Sample(psutil.Process(self.gateway.process.pid), now_s - start_s))
            self.talk.hear(0.2)
            self.take()
            if now_s > start_s + seconds + PATIENCE_S:
                self.broken.append(f"{len(self.live())} jobs did not end in {PATIENCE_S:.0f} s")
                break
        self.compare_with_what_is_told_now()
        for talk in (*self.idlers, self.talk):
            talk.close()
        self.gateway.process.terminate()
        self.gateway.process.communicate()

    def live(self) -> list[str]:
        """Jobs without an end, or whose picture has not been brought."""
        return [job_id for job_id, events in self.told.items() if not events or not isinstance(events[-1], ENDINGS)]

    def submit(self, words: str = "a plaza") -> None:
        request = picture(words, seed=self.dice.randrange(SEEDS), steps=STEPS)
        submit = Submit(job_id=str(uuid.uuid4()), request=request)
        self.submits[submit.job_id], self.told[submit.job_id] = submit, []
        self.talk.say(submit)

    def take(self) -> None:
        """Keep what was told, and fetch what is finished."""
        heard, self.talk.heard = self.talk.heard, []
        for event in heard:
            if not isinstance(event, DurableEvent):
                continue
            known = self.told[event.job_id]
            if event.seq == len(known):
                known.append(event)
                if isinstance(event, Finished) and digest_of(self.talk.fetch(event)) != event.digest:
                    self.broken.append(f"{event.job_id}: another picture than the one announced was sent")
                if isinstance(event, Failed):
                    self.broken.append(f"{event.job_id} failed: {event.message}")
            elif event.seq > len(known) or known[event.seq] != event:
                self.broken.append(f"{event.job_id}: event {event.seq} is not the one to come")

    def start(self) -> Running:
        settings = {"devices": ["cpu"] * self.workers, "worker_silence_s": SILENCE_S, "stuck_s": SILENCE_S}
        return Running(self.folder, errors=subprocess.DEVNULL, **settings)

    def open(self) -> Talk:
        talk = Talk(self.gateway.connection())
        talk.greet()
        return talk

    def reconnect(self) -> None:
        """As a client does: what was not acknowledged is sent again, the rest is followed from where it was heard."""
        self.talk.close()
        self.talk = self.open()
        for job_id in self.live():
            heard = len(self.told[job_id])
            self.talk.say(Subscribe(job_id=job_id, since_seq=heard) if heard else self.submits[job_id])
            if job_id in self.cancelled:
                self.talk.say(Cancel(job_id=job_id))

    def compare_with_what_is_told_now(self) -> None:
        """A client that comes anew is told the same of each job."""
        before, self.told = self.told, {job_id: [] for job_id in self.submits}
        self.talk.close()
        self.talk = self.open()
        for job_id, events in before.items():
            self.talk.say(Subscribe(job_id=job_id))
            end_s = time.monotonic() + PATIENCE_S
            while len(self.told[job_id]) < len(events) and time.monotonic() < end_s:
                self.talk.hear(1)
                self.take()
        self.broken += [f"{job_id}: another story is told" for job_id, events in before.items() if self.told[job_id] != events]
        self.told = before

    def strike(self, early: bool) -> None:
        fault = self.dice.choice([*FAULTS, *EARLY] if early else FAULTS)
        self.faults[fault.__name__.replace("_", " ")] += 1
        while self.idlers:
            self.idlers.pop().close()
        fault(self)


def check_disk(soak: Soak) -> list[tuple[str, str]]:
    """Rows of the table; whatever breaks a rule is added to `soak.broken`."""
    data_folder = soak.gateway.data_folder
    states = audit(data_folder)
    lost, duplicated = set(soak.submits) - set(states), set(states) - set(soak.submits)
    pictures: dict[int, set[str]] = {}
    for job_id, state in states.items():
        if state == "finished":
            picture_digest = digest_of((data_folder / "results" / f"{job_id}.png").read_bytes())
            pictures.setdefault(soak.submits[job_id].request.seed, set()).add(picture_digest)
        elif state != "cancelled" or job_id not in soak.cancelled:
            soak.broken.append(f"{job_id} is {state}")
    counts, resumed = redone(data_folder), {}
    for job_id, events in told(data_folder).items():
        resumed[job_id] = sum(one["type"] == "Started" for one in events) - 1
        if counts[job_id] > UNIT_STEPS * max(0, resumed[job_id]):
            soak.broken.append(f"{job_id}: {counts[job_id]} steps were done again for {resumed[job_id]} losses")
    if lost or duplicated or any(len(one) != 1 for one in pictures.values()):
        soak.broken.append(f"lost {lost}, duplicated {duplicated}, different pictures {pictures}")
    ended = Counter(states.values())
    return [
        ("jobs accepted", f"{len(soak.submits)}"),
        ("finished / cancelled at our wish", f"{ended['finished']} / {ended['cancelled']}"),
        ("lost / duplicated", f"{len(lost)} / {len(duplicated)}"),
        ("pictures that differ from others of their seed", f"{sum(len(one) - 1 for one in pictures.values())}"),
        ("attempts beyond the first", f"{sum(resumed.values())}"),
        ("steps redone in each of these, mean", f"{counts.total() / max(1, sum(resumed.values())):.1f} of {UNIT_STEPS}"),
    ]


def check_samples(soak: Soak) -> list[tuple[str, str]]:
    """Of the last gateway, without its first fifth, in which it meets everything for the first time."""
    own = [sample for sample in soak.samples if sample.pid == soak.samples[-1].pid]
    own = own[len(own) // 5 :]
    hours = [sample.at_s / 3600 for sample in own]
    memory = [sample.memory_bytes / MIB for sample in own]
    files = [sample.files for sample in own]
    slope = statistics.linear_regression(hours, memory).slope if len(own) > 2 else math.nan
    third = max(1, len(files) // 3)
    if min(files[-third:]) > min(files[:third]):
        soak.broken.append(f"open files grew from {min(files[:third])} to {min(files[-third:])}")
    if hours[-1] - hours[0] >= 0.5 and slope >= 1:  # in less time the first use of this and that is what is seen
        soak.broken.append(f"memory grew by {slope:.2f} MiB/h")
    return [
        ("one gateway watched for", f"{60 * (hours[-1] - hours[0]):.0f} min"),
        ("its memory, first / last / slope", f"{memory[0]:.1f} / {memory[-1]:.1f} MiB / {slope:+.2f} MiB/h"),
        ("its open files, least / most / last", f"{min(files)} / {max(files)} / {files[-1]}"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--fault-every", type=float, default=20, metavar="SECONDS")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), args.seed, args.workers)
        soak.run(args.seconds, args.jobs, args.fault_every)
        rows = [
            ("time", f"{args.seconds / 60:.0f} min, load {os.getloadavg()[1]:.1f} of {os.cpu_count()}"),
            ("faults", ", ".join(f"{count} x {name}" for name, count in sorted(soak.faults.items()))),
            *check_disk(soak),
            *check_samples(soak),
            ("rules broken", f"{len(soak.broken)}"),
        ]
    print("| what | figure |\n|---|---|")
    for name, figure in rows:
        print(f"| {name} | {figure} |")
    for words in soak.broken:
        print(words)
    return int(bool(soak.broken))


if __name__ == "__main__":
    raise SystemExit(main())
