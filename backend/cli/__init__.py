"""The command `beyondscene`: one file per subcommand, each with `add_arguments` and `run`.

Exit codes: 0 done; 1 a fault of the program; 2 something to put right in the command, the scene, the request or the
models, said in one sentence on standard error; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

DONE, FAULT, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns of torchvision as it is imported; we need none
    from . import evaluate, export, info, render, serve, train, worker

    modules = {"render": render, "export": export, "serve": serve, "info": info, "train": train, "evaluate": evaluate}
    parser = argparse.ArgumentParser(prog="beyondscene", description="Pose to picture, without a window.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(modules))
    for name, module in modules.items():
        words = (module.__doc__ or "").splitlines()[0]
        module.add_arguments(commands.add_parser(name, description=words, help=words))
    commands.add_parser("worker", description=(worker.__doc__ or "").splitlines()[0])
    asked = parser.parse_args(arguments)
    try:
        return {**modules, "worker": worker}[asked.command].run(asked)
    except (ValueError, OSError) as error:  # RequestError, WireError, ModelSetError, BlendError, ServeError, missing files
        print(f"beyondscene: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("beyondscene: interrupted", file=sys.stderr)
        return INTERRUPTED
