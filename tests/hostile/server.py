"""A process that has imported everything and forks a child for each command line, so that a case takes milliseconds.

It reads one JSON object a line, `{"words": [...], "folder": PATH, "seconds": S}`, and answers with one of `Ended`.
"""

import atexit
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import PIPE, Popen
from types import TracebackType
from typing import Any, NamedTuple, Self

ADDRESS_SPACE = 6 << 30
"""Bytes that a child may map beyond what the server has mapped."""
POLL = 0.002
KILLED = 128
OUTPUT = ("out.txt", "err.txt")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    """Exit code; 128 and the number of the signal that ended it."""
    seconds: float
    megabytes: float
    """Greatest memory beyond the server's own."""
    hung: bool
    """Whether it was killed because its time was up."""
    out: str
    err: str


class Server:
    """The process, as a context manager; `run` gives it one command line after the other."""

    def __enter__(self) -> Self:
        # Threads would make a fork unsafe, and tiny graphs gain nothing from them.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        root = str(Path(__file__).parents[2])
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH", ""))))
        command = [sys.executable, "-m", "tests.hostile.server"]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=env, cwd=root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)  # closes both pipes, at which the process ends

    def run(self, words: list[str], folder: Path, notes: Path, seconds: float = 60.0) -> Ended:
        """Run a command line in a folder; what it prints goes into files of the folder `notes`, and is returned."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"words": words, "folder": str(folder), "notes": str(notes), "seconds": seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with {self._process.wait()}")
        texts = [(notes / name).read_bytes().decode("utf-8", "surrogateescape") for name in OUTPUT]
        return Ended(*json.loads(line), *texts)


def _serve() -> None:
    _warm()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(asked)
        hung = False
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                break
            if not hung and time.monotonic() - started > asked["seconds"]:
                hung = True
                os.kill(pid, signal.SIGKILL)
            time.sleep(POLL)
        code = os.waitstatus_to_exitcode(status)
        megabytes = max(0, usage.ru_maxrss - own) / 1024
        ended = [code if code >= 0 else KILLED - code, time.monotonic() - started, megabytes, hung]
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


def _warm() -> None:
    """Import what commands import, but start no thread."""
    import accelerate
    import h5py
    import hdf5plugin
    import onnxruntime
    import safetensors.numpy
    import sklearn.mixture
    import torch

    import sdkit
    from sdkit.cli import main
    from sdkit.figures import draw
    from sdkit.runtime import describe, runtime
    from sdkit.training import launch

    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports much
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        _run(["data", "info", "none.h5"])  # what the command line imports on its way
    _ = (
        accelerate,
        sklearn.mixture,
        h5py,
        hdf5plugin,
        onnxruntime,
        safetensors.numpy,
        sdkit.__version__,
        main,
        draw,
        describe,
        runtime,
        launch,
    )


def _child(asked: dict[str, Any]) -> None:
    """Run a command line as `sdkit` does, and end the process."""
    code = 1
    try:
        os.chdir(asked["folder"])
        for number, name in enumerate(OUTPUT, 1):
            file = os.open(Path(asked["notes"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _run(asked["words"])
        threading._shutdown()  # type: ignore[attr-defined]  # as the end of a process does
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(words: list[str]) -> int:
    from sdkit.cli.main import main

    sys.argv = ["sdkit", *words]
    try:
        main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


if __name__ == "__main__":
    _serve()
