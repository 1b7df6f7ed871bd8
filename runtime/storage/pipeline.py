"""Reading, computing and writing at the same time, on threads, in order and with a bounded number of items alive."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

ALIVE = 3
"""Number of items that a stage may have made and the next not used up: one in use, one waiting, one being made."""

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def pipelined(
    source: Iterable[A], work: Callable[[A], B], *, alive: int = ALIVE, workers: int = 1
) -> Iterator[Iterator[B]]:
    """Yield the results of `work` on the items of `source`, in order, while both run ahead on threads of their own.

    The caller, who uses the results, is the third stage; it alone reports progress and receives Ctrl-C. An exception of
    any stage stops the others and is raised once, in the caller. When the block ends, however it ends, all threads
    have ended too: at the latest after the item and the batches that they were at.

    Memory is bounded: there are never more than `alive` items, the one being read and the one being worked on
    included, and never more than `alive` + `workers` - 1 results, likewise. An item counts as used up when its result
    and those before it are there, so that `source` may make item i + `alive` in the memory of item i; a result when
    the caller asks for the next. (A caller's own variable, and the tuples of `enumerate` and `zip`, keep the last
    result until they have the next.)

    Args:
        source: iterated, and closed if it is a generator, on the first thread.
        work: called on `workers` threads.
        alive: largest number of items, at least `workers`.
        workers: number of items that are worked on at a time; their results keep the order of the items.
    """
    items, results = _Channel[A](alive), _Channel[B](alive)
    threads = (
        threading.Thread(target=items.fill, args=(iter(source),), name="sdkit-read"),
        threading.Thread(target=results.fill, args=(_each(work, items, workers),), name="sdkit-order"),
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


def _each(work: Callable[[A], B], items: "_Channel[A]", workers: int) -> Iterator[B]:
    at_work: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="sdkit-compute") as pool:
        while not isinstance(item := items.take(), _End):
            at_work.append(pool.submit(work, item))
            del item  # else it would stay alive while the next one is waited for
            if len(at_work) == workers:
                yield _first(at_work, items)
        while at_work:
            yield _first(at_work, items)


def _first(at_work: "deque[Future[B]]", items: "_Channel[A]") -> B:
    result = at_work.popleft().result()
    items.release()
    return result


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class _Channel(Generic[A]):
    """A queue whose places are reserved before an item is made, and given back when it is used up."""

    def __init__(self, places: int) -> None:
        # Tokens in a SimpleQueue and no semaphore: `storage.workers` says why.
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(places):
            self._places.put(None)
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
        """Yield the items as they come; raise the error that ended them. Asking for the next uses an item up."""
        while not isinstance(item := self.take(), _End):
            yield item
            del item
            self.release()

    def take(self) -> "A | _End":
        """Return the next item, which keeps its place until `release`, or the end; raise the error that ended them."""
        item = self._items.get()
        if isinstance(item, _End) and item.error is not None:
            raise item.error
        return item

    def release(self) -> None:
        """Give back the place of the first item that still has one."""
        self._places.put(None)

    def stop(self) -> None:
        """Wake every thread that waits for a place or for an item, and let none continue."""
        self._stopped = True
        self._places.put(None)
        self._items.put(_End())

    def _taken(self) -> bool:
        self._places.get()
        return not self._stopped
