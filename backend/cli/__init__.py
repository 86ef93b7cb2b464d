"""The command `beyondscene`: one file per subcommand, each with `add_arguments` and `run`.

Exit codes: 0 done; 1 a fault of the program, with its traceback, or a job that failed; 2 something to put right in the command,
the scene, the request, the models or the disk, said in one sentence on standard error; 3 a job that was cancelled, or a
training whose minutes were over; 4 no backend answers; 5 the data folder is in use by another backend; 6 the backend takes no
more for now; 130 interrupted, by Ctrl-C, SIGTERM or SIGHUP, of which `serve` makes a 0 once it has begun; 141 whoever read the
output has closed the pipe.
"""

import argparse
import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

EXIT_CODES = (__doc__ or "").partition("\n\n")[2]
# In the order in which they are listed. Only the one that is asked for is imported, so that it alone has to find what it needs.
COMMANDS = (
    "render", "check", "export", "openpose", "serve", "submit", "jobs", "wait", "fetch", "cancel", "keygen", "client", "info",
    "train", "evaluate", "bench",
)  # fmt: skip
DONE, FAULT, REFUSED, STOPPED, UNREACHABLE, IN_USE, BUSY, INTERRUPTED, UNREAD = 0, 1, 2, 3, 4, 5, 6, 130, 141


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one sentence, without the list of all options before it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("type", Path, named)
        self._negative_number_matcher = re.compile(r"-\.?\d[\d.:-]*$")  # frames from below 0 on are no option either

    def error(self, message: str) -> NoReturn:
        say(f"{message.rstrip('.')}. `{self.prog} --help` lists what there is.")
        raise SystemExit(REFUSED)


def named(text: str) -> Path:
    """What an argument of the type Path is; of nothing, which Path takes for the current folder, it is none."""
    if not text:
        raise argparse.ArgumentTypeError("'' names no file or folder: write . for the current folder")
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code. arguments: None for those of the process, whose output is then UTF-8."""
    if arguments is None:
        open_closed_streams()
        for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):  # names may be any bytes
            if isinstance(stream, io.TextIOWrapper):
                if stream.isatty():
                    stream.reconfigure(errors="backslashreplace")  # as standard error has it
                else:
                    stream.reconfigure(encoding="utf-8", errors=errors)  # as JSON is, and as logs are read
    return answer(lambda: run(arguments))


def open_closed_streams() -> None:
    """Python has None for one: nothing can be read from it, and what is printed to it goes to standard output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  (for as long as the process lives)


def limit_threads() -> None:
    """Let no more threads compute than may at a time: OpenMP knows of masks, but of no quota, and waits there without a rest,
    which counts."""
    from ..machine import core_count, masked_core_count

    if (cores := core_count()) < masked_core_count():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def run(arguments: Sequence[str] | None) -> int:
    limit_threads()
    # The imports are in here since they take a second or two, in which Ctrl-C is no fault either.
    from ..version import app_version

    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["worker"]:  # what `serve` starts, and ends in ways of its own
        return import_module(".worker", __name__).run()
    wanted = given[:1] if given and given[0] in COMMANDS else COMMANDS  # all of them to list them
    modules = {name: import_module(f".{name}", __name__) for name in wanted}
    parser = Parser(prog="beyondscene", description="Pose to picture, without a window.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"beyondscene {app_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for name, module in modules.items():
        words = (module.__doc__ or name).splitlines()[0]  # `python -OO` drops what explains it
        module.add_arguments(commands.add_parser(name, description=words, help=words))
    args, unknown = parser.parse_known_args(given)
    if unknown:
        commands.choices[args.command].error(f"there is no {' '.join(unknown)}")
    return modules[args.command].run(args)


def answer(command: Callable[[], int]) -> int:
    """Return the exit code of `command`, and say in one sentence what is to be put right, or that it was interrupted."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns of torchvision as it is imported; we need none
    try:
        with ended_by_interrupt():  # before anything else: what the commands import takes seconds
            code = command()
        if sys.stdout:  # None where it is closed
            sys.stdout.flush()  # here, where what is wrong with it can still be told
        return code
    except BrokenPipeError:  # `| head` has read enough; there may be nobody to tell either
        drop_output()
        return UNREAD
    except KeyboardInterrupt:
        tell("beyondscene: interrupted")  # at once, without an import
        return INTERRUPTED
    except Exception as error:
        from ...protocol import Refusal  # not before: its imports take a while, in which Ctrl-C is no fault either

        if not isinstance(error, Refusal | OSError):
            raise  # it is ours, and shows where it came from
        say(describe(error) if isinstance(error, OSError) else str(error))
        drop_output()
        return getattr(error, "exit_code", REFUSED)


def say(sentence: str) -> None:
    """Tell people on standard error. What it quotes may be of anybody's making, and can pass for no other line."""
    from ...protocol.text import one_line

    first, *others = map(one_line, sentence.split("\n"))
    tell(f"beyondscene: {first}", *(f"  {line.lstrip()}" for line in others))


def tell(*lines: str) -> None:
    """Print them to standard error. Where that takes no more, as on a full disk, the exit code still tells."""
    try:
        print(*lines, sep="\n", file=sys.stderr)
    except OSError:
        drop_output()


def describe(error: OSError) -> str:
    """One sentence: what cannot be read or written, why, and what to do."""
    if not error.strerror:  # somebody has put it into words already
        return str(error)
    if error.strerror.startswith("No usable temporary directory"):  # as the module tempfile has it
        return f"{error.strerror}: set TMPDIR to a folder that can be written."
    what = "Something" if error.filename is None else str(error.filename)
    advice = "make room on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "put that right, or name another place"
    return f"{what} cannot be read or written ({error.strerror}): {advice}."


def drop_output() -> None:
    """Let go of what cannot be written: Python would try again at its end, and leave with a code of its own."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """Within, what asks a process to end is an interrupt: Python would leave at once and with its temporary files in place."""
    if threading.current_thread() is not threading.main_thread():  # no other may choose what a signal does
        yield
        return
    from ..signals import ending_signals

    others = [number for number in ending_signals() if number != signal.SIGINT]
    before = {number: signal.signal(number, signal.default_int_handler) for number in others}
    dropped, sys.unraisablehook = sys.unraisablehook, partial(raise_again, sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = dropped
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_again(tell_dropped: Callable[[Any], object], dropped: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised in `__del__` and the like: an interrupt that came just then would be lost."""
    if dropped.exc_type is KeyboardInterrupt and os.name == "posix":  # os.kill of Windows would end the process
        # To the process, which wakes the main thread, and not SIGINT, which jobs in the background may ignore.
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()
    else:
        tell_dropped(dropped)
