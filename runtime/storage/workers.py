"""Threads that work for a caller whom Ctrl-C may interrupt at any moment, without anyone waiting for ever after.

What a signal raises may come after a lock was taken and before the block begins that gives it back, wherever locks are
Python's own code: in `threading.Condition`, and so in futures, semaphores and `queue.Queue`. `queue.SimpleQueue` is C
code, where nothing comes in between.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Answer(Generic[T]):
    """Result of a call that a thread makes, to be waited for."""

    def __init__(self) -> None:
        self._found: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def work(self, call: Callable[..., T], arguments: tuple[Any, ...]) -> None:
        """Find it."""
        try:
            self._found.put((call(*arguments), None))
        except BaseException as error:
            self._found.put((None, error))

    def result(self) -> T:
        """Wait for what was found and return it, or raise what was raised; call it once."""
        found, error = self._found.get()
        if error is not None:
            raise error
        return found  # type: ignore[return-value]


class Workers:
    """A few threads; use it as a context manager, which waits for all that was given to them.

    Args:
        count: number of threads.
        name: what they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._given: SimpleQueue[tuple[Answer[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[..., T], *arguments: Any) -> Answer[T]:
        """Let the next free thread make a call."""
        answer = Answer[T]()
        self._given.put((answer, call, arguments))
        return answer

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                # A daemon: a thread that an interrupted start left half-made holds nobody up.
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        for thread in self._threads:
            thread.join()

    def _end(self) -> None:
        for _ in range(self._count):
            self._given.put(None)

    def _run(self) -> None:
        while (given := self._given.get()) is not None:
            answer, call, arguments = given
            answer.work(call, arguments)
            del given, answer, call, arguments  # else they would stay alive while the next is waited for
