"""Ctrl-C at any moment: nobody waits for ever, and what is done goes on."""

import random
import signal
import threading
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from sdkit.runtime.storage import hdf5
from sdkit.runtime.storage.hdf5 import GrowingFile
from sdkit.runtime.storage.resume import Partial
from sdkit.runtime.storage.workers import Workers


def test_answers_come_in_any_order() -> None:
    ready = threading.Event()
    with Workers(2, "test") as workers:
        slow, fast = workers.submit(ready.wait, 10), workers.submit(divmod, 7, 2)
        assert fast.result() == (3, 1)
        ready.set()
        assert slow.result() is True


def test_an_error_is_raised_where_the_answer_is_wanted() -> None:
    with Workers(1, "test") as workers:
        failed, fine = workers.submit(divmod, 1, 0), workers.submit(len, "abc")
        with pytest.raises(ZeroDivisionError):
            failed.result()
        assert fine.result() == 3


def test_the_block_ends_after_the_work() -> None:
    done: list[int] = []
    with Workers(1, "test") as workers:
        for number in range(100):
            workers.submit(done.append, number)
    assert done == list(range(100))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# An interruption in a clean-up of Python's own is printed and lost, as Python has it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that signals")
def test_interrupted_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CHUNK_BYTES", 2000)
    x = np.random.default_rng(0).integers(0, 255, (40, 100), np.uint8)
    out, rng, ended = tmp_path / "out.h5", random.Random(1), 0

    def work() -> None:
        partial = Partial(out, {}, force=True, resume=True)
        with GrowingFile(out, partial=partial) as writer:
            for i in range(writer.restore(40) // 40, 60):
                writer.append(data=x, numbers=np.full((40, 3), i, np.float32))
            writer.put("more", np.arange(3000))

    work()
    whole = out.read_bytes()
    before = signal.signal(signal.SIGALRM, _interrupt)
    try:
        for _ in range(120):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, 0.02))
                work()
            except KeyboardInterrupt:
                ended += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert out.read_bytes() == whole
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended > 60
    work()
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
