"""The process that `serve` starts for each device; not for people."""

import os
import sys
from typing import NoReturn


def run() -> NoReturn:
    from ..worker import run_worker

    code = run_worker()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python takes seconds to clear torch away, while the gateway waits and the device is not free
