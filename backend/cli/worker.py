"""The process that `serve` starts for each device; not for people."""

import argparse


def run(asked: argparse.Namespace) -> int:
    from ..worker import run_worker

    return run_worker()
