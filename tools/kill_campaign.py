"""Kill workers and gateways with SIGKILL while jobs run, for as long as is wished, and print what it cost.

    python tools/kill_campaign.py [--seconds 300] [--seed 0]

The pictures are painted by the tests' stand-in, 40 steps of 10 ms each with a checkpoint every 5. What is counted is read
from the ledger, the pictures and the log of steps on the disk. The last column counts the accepted jobs that waited or ran
when a gateway was killed: a queue in memory would have lost each of them.
"""

import argparse
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from beyondscene.protocol import Accepted, Finished, Progressed, Started, Subscribe
from beyondscene.tests.backend.serving.audit import audit, redone
from beyondscene.tests.backend.serving.stand_in_worker import UNIT_STEPS
from beyondscene.tests.backend.serving.talk import Running, Talk, picture

STEPS = 40
QUEUED = 3  # jobs that wait or run at any time
TARGETS = ("worker", "gateway", "both")


@dataclass
class Toll:
    """What the kills of one target have cost."""

    kills: int = 0
    at_stake: int = 0  # jobs that waited or ran when their gateway was killed
    steps_redone: list[int] = field(default_factory=list)  # per kill
    back_s: list[float] = field(default_factory=list)  # from the kill to a step that had not been done before


class Campaign:
    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.gateway = Running(folder)
        self.talk = Talk(self.gateway.connection())
        self.talk.greet()
        self.jobs: list[str] = []
        self.live: set[str] = set()
        self.tolls = {target: Toll() for target in TARGETS}

    def run(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.fill()
            self.hear_until(Progressed)
            self.hear_for(self.dice.uniform(0, 1.2 * STEPS * 0.01))
            self.strike(self.dice.choice(TARGETS))
        self.finish_all()
        self.gateway.process.terminate()
        self.gateway.process.communicate()

    def strike(self, target: str) -> None:
        toll, before = self.tolls[target], redone(self.gateway.data_folder).total()
        workers = psutil.Process(self.gateway.process.pid).children()
        killed_s = time.monotonic()
        if target != "gateway":
            for worker in workers:
                worker.kill()
        if target != "worker":
            self.gateway.kill()
            toll.at_stake += len(self.live)
            self.talk.close()
            self.gateway = Running(self.gateway.folder)
            self.talk = Talk(self.gateway.connection())
            self.talk.greet()
            for job_id in self.live:
                self.talk.say(Subscribe(job_id=job_id))
        self.fill()
        self.hear_until(Started)
        self.hear_until(Progressed)
        toll.back_s.append(time.monotonic() - killed_s)
        self.hear_for(UNIT_STEPS * 0.01)  # what was done before the kill and not kept is done again by then
        toll.steps_redone.append(redone(self.gateway.data_folder).total() - before)
        toll.kills += 1

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
        while not isinstance(event := self.talk.hear(), kind):
            assert event is not None, f"no {kind.__name__} in a minute"
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), asked.seed)
        campaign.run(asked.seconds)
        states = audit(campaign.gateway.data_folder)
        digests = {path.read_bytes() for path in (campaign.gateway.data_folder / "results").iterdir()}
    lost = set(campaign.jobs) - {job_id for job_id, state in states.items() if state == "finished"}
    twice = len(set(states) - set(campaign.jobs))
    print("| killed | kills | steps redone per kill, mean / most | progress again, median / most | jobs at stake |")
    print("|---|---|---|---|---|")
    for target, toll in campaign.tolls.items():
        if toll.kills:
            steps, back = toll.steps_redone, toll.back_s
            print(
                f"| {target} | {toll.kills} | {statistics.mean(steps):.1f} / {max(steps)} of {UNIT_STEPS} | "
                f"{statistics.median(back):.1f} / {max(back):.1f} s | {toll.at_stake} |"
            )
    print(f"\n{len(campaign.jobs)} jobs accepted, {len(lost)} lost, {twice} duplicated, {len(digests)} different picture(s).")
    return int(bool(lost or twice or len(digests) != 1))


if __name__ == "__main__":
    raise SystemExit(main())
