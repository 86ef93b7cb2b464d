"""Decode damaged messages for as long as is wished; anything that is raised beside a refusal is a fault.

    python tools/fuzz_messages.py [--count 10000000] [--seed 0]

The codec, the checks and the damage are those of the tests. A fault is printed with the bytes that caused it.
"""

import argparse
import random
import time
from collections import Counter

from beyondscene.tests.protocol.mutate import corpus, mutated
from beyondscene.tests.protocol.take import take

REPORT_EVERY = 500_000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dice, messages, outcomes, start_s = random.Random(args.seed), corpus(), Counter[str](), time.monotonic()
    for count in range(1, args.count + 1):
        frames = mutated(dice, messages)
        try:
            outcomes[take(frames)] += 1
        except Exception as error:
            outcomes["fault"] += 1
            print(f"{type(error).__name__}: {error} for {frames!r}", flush=True)
        if count % REPORT_EVERY == 0 or count == args.count:
            shares = ", ".join(f"{outcomes[name]} {name}" for name in sorted(outcomes))
            print(f"{count} messages in {time.monotonic() - start_s:.0f} s: {shares}", flush=True)
    return int(bool(outcomes["fault"]))


if __name__ == "__main__":
    raise SystemExit(main())
