"""What single arguments may be: checked while the command is read."""

import argparse
import math
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ...protocol import LARGEST_SEED, LARGEST_STEPS, LONGEST_SIDE_PX
from ...protocol.messages import JobId
from ...protocol.requests import MOST_JOBS
from ..models.memory_saving import DEVICE_NAME
from . import named

PORTS = range(1, 65536)
PRIORITIES = range(-100, 100 + 1)
PROCESSES = range(1, 2**31)
LARGEST_AMOUNT = 10**9  # whose bytes still fit 64 bits
STEPS = range(1, LARGEST_STEPS + 1)
COUNTS = range(1, 10**6 + 1)
JOBS = range(1, MOST_JOBS + 1)
FRAMES = range(-1048574, 1048574 + 1)  # MINAFRAME to MAXFRAME of Blender, which goes no further and says nothing
SEEDS = range(LARGEST_SEED + 1)


def size(text: str) -> tuple[int, int]:
    """ "1536x1024" to (1536, 1024)."""
    sides = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text.lower())
    if sides is None or max(int(sides[1]), int(sides[2])) > LONGEST_SIDE_PX:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a size: write width x height in pixels, {LONGEST_SIDE_PX} at most, e.g. 1536x1024"
        )
    return int(sides[1]), int(sides[2])


def frames(text: str) -> range:
    """ "1-10:3" to 1, 4, 7, 10; "12" to 12 alone."""
    parts = re.fullmatch(r"(-?[0-9]{1,7})(?:-(-?[0-9]{1,7})(?::([1-9][0-9]{0,6}))?)?", text)
    if parts is None or not all(int(end) in FRAMES for end in (parts[1], parts[2] or parts[1])):
        limits = f"from {FRAMES[0]} to {FRAMES[-1]}"
        raise argparse.ArgumentTypeError(
            f"'{text}' are no frames: write the first and the last, {limits}, e.g. 1-48, or 1-48:2"
        )
    first, last = int(parts[1]), int(parts[2] or parts[1])
    if last < first:
        raise argparse.ArgumentTypeError(f"'{text}' goes backwards: write the lower frame first, as in {last}-{first}")
    return range(first, last + 1, int(parts[3] or 1))


def frame(text: str) -> int:
    return whole(text, FRAMES, "frame")


def device(text: str) -> str:
    """The name of one device, as torch gives it; whether this machine has it, is seen when it is used."""
    if not re.fullmatch(DEVICE_NAME, text):
        raise argparse.ArgumentTypeError(f"'{text}' is no device: write auto, cpu, mps, cuda, or cuda:1 for the second")
    return text


def job(text: str) -> str:
    """The id of a job."""
    try:
        return msgspec.convert(text, JobId)
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no job id: `beyondscene jobs` lists them") from error


def key_file(text: str) -> Path:
    """One that somebody was given: unlike what a backend writes as it starts, it is there or never will be."""
    path = named(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file {text}: name the key file that you were given")
    return path


def endpoint(text: str) -> str:
    """An address to listen on, whose port can be one."""
    try:
        _ = urlsplit(text).port
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' has no port that there is: write 0 for any, or one up to {PORTS[-1]}, as in tcp://127.0.0.1:5555"
        ) from error
    return text


def port(text: str) -> int:
    return whole(text, PORTS, "port")


def priority(text: str) -> int:
    return whole(text, PRIORITIES, "priority")


def job_count(text: str) -> int:
    return whole(text, JOBS, "number of jobs")


def seed(text: str) -> int:
    return whole(text, SEEDS, "seed")


def step_count(text: str) -> int:
    return whole(text, STEPS, "number of steps")


def count(text: str) -> int:
    """How many of something, at least one."""
    return whole(text, COUNTS, "count")


def part(text: str) -> slice:
    """ "2/8" to the second of every eight."""
    numbers = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if numbers is None or int(numbers[1]) > int(numbers[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is no part: write which and of how many, as 2/8 for the second of eight")
    return slice(int(numbers[1]) - 1, None, int(numbers[2]))


def whole(text: str, numbers: range, what: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,20}", text) or int(text) not in numbers:
        raise argparse.ArgumentTypeError(f"'{text}' is no {what}: write a whole number from {numbers[0]} to {numbers[-1]}")
    return int(text)


def process(text: str) -> int:
    """The number of one; whether there is such a process, is seen when it is watched."""
    return whole(text, PROCESSES, "number of a process")


def share(text: str) -> float:
    """Above 0, and up to 1."""
    value = amount(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no share: write a number above 0 and up to 1, as 0.3")
    return value


def amount(text: str) -> float:
    """A number of seconds, minutes or GiB: 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LARGEST_AMOUNT:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount: write a number from 0 to {LARGEST_AMOUNT}")
    return value
