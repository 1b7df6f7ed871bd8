"""The end of a command by a signal: Ctrl-C, SIGTERM, or a terminal that is closed.

The signal raises KeyboardInterrupt, so that every block on the way out leaves its files as it should. A command that is
still there some seconds later, in a library that cannot be interrupted or in wait for a thread, is ended at once: what
it leaves is what a kill leaves, and the next command takes it up or removes it.
"""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType

GRACE_SECONDS = 8.0
"""Time for an orderly end."""
NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "a closed terminal"}
_received: list[int] = []


class Interruption(KeyboardInterrupt):
    """A signal that ends the command; Python ends a process by SIGINT itself where it has seen KeyboardInterrupt."""


def exit_code() -> int:
    """Return the exit code of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def cause() -> str:
    """Return what interrupted the command, in words."""
    return NAMES[signal.Signals(exit_code() - 128).name]


def listen() -> None:
    """Let signals interrupt this process; those that it was started to ignore, as by nohup, stay ignored."""
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    if not heard:
        return
    # The system writes the signal's number even while a library keeps Python from running the handler.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, frozenset(heard)), name="sdkit-signals", daemon=True).start()
    for number in heard:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Only the first: another would come between what the way out removes.
    if not _received:
        _received.append(number)
        raise Interruption


def _watch(reading: int, heard: frozenset[int]) -> None:
    while (number := os.read(reading, 1)[0]) not in heard:
        pass
    threading.Event().wait(GRACE_SECONDS)
    with suppress(OSError):  # by the system's own call, for Python may be at its end
        os.write(2, f"stopped by {NAMES[signal.Signals(number).name]}, at once: it did not end by itself\n".encode())
    os._exit(128 + number)
