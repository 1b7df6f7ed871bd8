"""The entry of the command line, which imports nothing heavy before it has taken care of signals."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C while modules are loaded ends the process without a traceback."""
    waiting = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if waiting:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sdkit.cli.main import main as run

    if waiting:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
