"""The process that `serve` starts for each device; not for people."""


def run() -> int:
    from ..worker import run_worker

    return run_worker()
