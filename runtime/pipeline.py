"""Reading, computing and writing at the same time: three threads, items in order, a bounded number of them alive."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

ALIVE = 3
"""Items that a stage may have made and the next not used up: one in use, one waiting, one being made."""

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def pipelined(source: Iterable[A], work: Callable[[A], B], *, alive: int = ALIVE) -> Iterator[Iterator[B]]:
    """Yield the results of `work` on the items of `source`, in order, while both run ahead on threads of their own.

    The caller, who uses the results, is the third stage; it alone reports progress and meets Ctrl-C. An exception of
    any stage stops the others and is raised once, in the caller. When the block ends, however it ends, both threads
    have ended too: at the latest after the item and the batch that they were at.

    Memory is bounded: there are never more than `alive` items, the one being read and the one being worked on
    included, and never more than `alive` results, likewise. An item or a result counts as used up when its
    user asks for the next, so that `source` may make item i + `alive` in the memory of item i. (A caller's own
    variable, and the tuples of `enumerate` and `zip`, keep the last result until they have the next.)

    Args:
        source: iterated, and closed if it is a generator, on the first thread.
        work: called on the second thread.
        alive: at least 1.
    """
    items, results = _Channel[A](alive), _Channel[B](alive)
    threads = (
        threading.Thread(target=items.fill, args=(iter(source),), name="sdkit-read"),
        threading.Thread(target=results.fill, args=(_each(work, items.drain()),), name="sdkit-compute"),
    )
    try:
        for thread in threads:
            thread.start()
        yield results.drain()
    finally:
        for channel in (items, results):
            channel.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _each(work: Callable[[A], B], items: Iterator[A]) -> Iterator[B]:
    for item in items:
        yield work(item)
        del item  # else it would live on while the next is waited for


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class _Channel(Generic[A]):
    """A queue whose places are taken before an item is made, and given back when it is used up."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self._items: queue.SimpleQueue[A | _End] = queue.SimpleQueue()
        self._stopped = False

    def fill(self, source: Iterator[A]) -> None:
        """Put the items of `source`, then its end or its error."""
        end = _End()
        try:
            while self._taken():
                try:
                    self._items.put(next(source))
                except StopIteration:
                    break
        except BaseException as error:
            end = _End(error)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
            self._items.put(end)

    def drain(self) -> Iterator[A]:
        """Yield the items as they come; raise the error that ended them."""
        while True:
            item = self._items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item
            self._places.release()

    def stop(self) -> None:
        """Wake whoever waits for a place or for an item, and let neither go on."""
        self._stopped = True
        self._places.release()
        self._items.put(_End())

    def _taken(self) -> bool:
        self._places.acquire()
        return not self._stopped
