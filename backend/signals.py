"""The signals that ask a process to end: Ctrl-C's, that of farms and systemd, that of a terminal which is closed."""

import signal


def ending_signals() -> tuple[signal.Signals, ...]:
    """Those of this system, without SIGHUP where it is ignored, as `nohup` has it."""
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is None or signal.getsignal(hang_up) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, hang_up
