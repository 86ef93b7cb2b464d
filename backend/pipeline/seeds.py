"""Random numbers that depend on the request's seed and on what they are for, and on nothing else."""

import hashlib

import numpy as np
import torch


def seed_for(seed: int, purpose: str) -> int:
    """A 63-bit seed. Another purpose gives unrelated numbers, so one more person leaves the others as they were."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "big") >> 1


def draw_noise(seed: int, purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32, drawn on the CPU so that every device gets the same."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed_for(seed, purpose)))


def numpy_random(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(seed, purpose))
