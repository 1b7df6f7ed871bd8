"""Stages overlap, keep the order, hold a bounded number of items, and end together."""

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

import pytest

from sdkit.runtime.storage.pipeline import ALIVE, pipelined


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sdkit-")] == []


class Item:
    """Something whose lives are counted."""

    alive, most = 0, 0
    lock = threading.Lock()

    def __init__(self, number: int) -> None:
        self.number = number
        kind = type(self)
        with kind.lock:
            kind.alive += 1
            kind.most = max(kind.most, kind.alive)
        weakref.finalize(self, kind.died)

    @classmethod
    def died(cls) -> None:
        with cls.lock:
            cls.alive -= 1


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_results_come_in_order() -> None:
    with pipelined(iter(range(100)), lambda n: n * n) as results:
        assert list(results) == [n * n for n in range(100)]
    with pipelined(list[int](), lambda n: n) as results:
        assert list(results) == []


def test_three_threads_work_at_the_same_time() -> None:
    # Each stage waits for the two others, so that this would never end if any two shared a thread.
    together = threading.Barrier(3, timeout=20)

    def source() -> Iterator[int]:
        for number in range(5):
            if number >= 2:
                together.wait()
            yield number

    def work(number: int) -> int:
        if 1 <= number <= 3:
            together.wait()
        return number

    found = []
    with pipelined(source(), work) as results:
        for number in results:
            if number <= 2:
                together.wait()
            found.append(number)
    assert found == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("slow", ["source", "work", "caller"])
@pytest.mark.parametrize(("alive", "workers"), [(1, 1), (2, 1), (ALIVE, 1), (3, 2), (4, 3)])
def test_no_more_than_so_many_are_alive(slow: str, alive: int, workers: int) -> None:
    class In(Item):
        pass

    class Out(Item):
        pass

    def rest(who: str) -> None:
        if who == slow:
            time.sleep(0.002)

    def source() -> Iterator[In]:
        for number in range(40):
            rest("source")
            yield In(number)

    def work(item: In) -> Out:
        rest("work")
        return Out(item.number)

    with pipelined(source(), work, alive=alive, workers=workers) as results:
        numbers = []
        for out in results:
            numbers.append(out.number)
            rest("caller")
            del out
    assert numbers == list(range(40))
    assert In.most <= alive
    assert Out.most <= alive + workers - 1
    wait_for(lambda: In.alive == Out.alive == 0)


def test_a_slow_caller_holds_the_source_back() -> None:
    begun = []

    def source() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield number

    with pipelined(source(), lambda n: n, alive=2) as results:
        # Two results are there, and two items wait.
        wait_for(lambda: len(begun) == 4)
        time.sleep(0.05)
        assert len(begun) == 4
        assert next(results) == 0


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_work_at_the_same_time_and_keep_the_order(workers: int) -> None:
    # Each item waits for as many more as there are workers, so that fewer threads would never end.
    together = threading.Barrier(workers, timeout=20)

    def work(number: int) -> int:
        together.wait()
        time.sleep(0.002 * (number % workers == 0))  # the first of each group is the last to be done
        return number

    with pipelined(iter(range(12)), work, alive=workers + 2, workers=workers) as results:
        assert list(results) == list(range(12))


def test_an_error_of_one_worker_comes_after_the_results_before_it() -> None:
    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        time.sleep(0.002)
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="five"), pipelined(iter(range(40)), work, alive=5, workers=3) as results:
        found.extend(results)
    assert found == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", [1, 3])
def test_memory_is_not_used_again_while_any_worker_reads_it(workers: int) -> None:
    alive = workers + 2
    buffers = [[-1] for _ in range(alive)]

    def source() -> Iterator[tuple[int, list[int]]]:
        for number in range(200):
            buffer = buffers[number % alive]
            buffer[0] = number
            yield number, buffer

    def work(item: tuple[int, list[int]]) -> bool:
        number, buffer = item
        time.sleep(0.0005 * (number % 3))
        return buffer[0] == number

    with pipelined(source(), work, alive=alive, workers=workers) as results:
        assert all(results)


def test_memory_may_be_used_again_once_so_many_more_were_asked_for() -> None:
    buffers = [[-1] for _ in range(3)]

    def source() -> Iterator[list[int]]:
        for number in range(300):
            buffer = buffers[number % 3]
            buffer[0] = number
            yield buffer

    with pipelined(source(), lambda buffer: buffer[0], alive=3) as results:
        assert list(results) == list(range(300))


def failing_at(last: int, error: BaseException) -> Iterator[int]:
    yield from range(last)
    raise error


def run(source: Iterable[int], work: Callable[[int], int], use: Callable[[int], None]) -> None:
    with pipelined(source, work) as results:
        for number in results:
            use(number)


@pytest.mark.parametrize("error", [ValueError("read"), KeyboardInterrupt()])
def test_an_error_of_the_source_comes_after_the_results_before_it(error: BaseException) -> None:
    found: list[int] = []
    with pytest.raises(type(error)) as caught:
        run(failing_at(5, error), lambda n: n, found.append)
    assert caught.value is error
    assert found == [0, 1, 2, 3, 4]


def test_an_error_of_the_work_stops_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    found: list[int] = []
    with pytest.raises(ZeroDivisionError):
        run(source(), lambda n: 1 // (3 - n), found.append)
    assert found == [0, 0, 1]
    assert closed.is_set()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_error_of_the_caller_stops_both(error: BaseException) -> None:
    worked = []

    def work(number: int) -> int:
        worked.append(number)
        return number

    def use(number: int) -> None:
        if number == 10:
            raise error

    with pytest.raises(type(error)) as caught:
        run(range(1_000_000), work, use)
    assert caught.value is error
    assert len(worked) <= 10 + 1 + ALIVE + 1


def test_work_cannot_end_the_results_unseen() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise StopIteration
        return number

    with pytest.raises(RuntimeError, match="StopIteration"), pipelined(iter(range(5)), work) as results:
        list(results)


def test_a_caller_that_leaves_early() -> None:
    with pipelined(iter(range(1_000_000)), lambda n: n) as results:
        assert next(results) == 0
    with pipelined(iter(range(1_000_000)), lambda n: n):
        pass
