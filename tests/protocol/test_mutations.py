"""Whatever the bytes are, what decodes them raises nothing but its own error. `tools/fuzz_messages.py` does it at length."""

import random

from .mutate import corpus, mutated
from .take import UNIONS, take


def test_damaged_messages_raise_nothing_but_a_refusal() -> None:
    dice, messages = random.Random(8), corpus()
    outcomes = [take(mutated(dice, messages)) for _ in range(20_000)]
    assert outcomes.count("refused") > 10_000
    assert outcomes.count("understood") > 500  # or the damage is such that only the surface is tested


def test_the_corpus_is_understood() -> None:
    assert len(UNIONS) == 4
    outcomes = [take(message) for message in corpus()]
    assert outcomes.count("inadmissible") == 6  # the golden submits come without their arrays
    assert outcomes.count("understood") == len(outcomes) - 6
