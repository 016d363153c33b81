"""Reading ahead of the model: threads that fill a store of bounded size, and one consumer that empties it."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Source = TypeVar("Source")
Item = TypeVar("Item")

_MOST_THREADS = 8  # libsndfile and soxr release the interpreter's lock; what surrounds them does not


class _ClosedError(Exception):
    """Nobody takes anything out any more."""


class _Store(Generic[Item]):
    """Things in order of arrival, of no more than so many bytes (or one, if it is larger)."""

    def __init__(self, most_bytes: int, producers: int):
        self._changed = threading.Condition()
        self._items: deque[tuple[Item | BaseException, int]] = deque()
        self._bytes, self._most = 0, most_bytes
        self._producers = producers
        self._is_closed = False

    def put(self, item: Item | BaseException, size: int = 0) -> None:
        """Waits for room.

        Raises:
            _ClosedError: there will be none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._bytes or self._bytes + size <= self._most)
            if self._is_closed:
                raise _ClosedError
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def producer_ends(self) -> None:
        with self._changed:
            self._producers -= 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or not self._producers)
                if not self._items:
                    return
                item, size = self._items.popleft()
                self._bytes -= size
                self._changed.notify_all()
            if isinstance(item, BaseException):
                raise item
            yield item


@contextlib.contextmanager
def reading_ahead(
    sources: Iterable[Source], read: Callable[[Source], Iterable[Item]], size: Callable[[Item], int], most_bytes: int
) -> Iterator[Iterator[Item]]:
    """What `read` gives of each source, read by threads while the consumer is busy.

    Items of one source come in their order; those of several are mixed. What a thread raises is raised here.

    Args:
        sources: taken one by one, as threads are free.
        read: called in a thread.
        size: bytes of an item.
        most_bytes: of items that wait.
    """
    workers = min(_MOST_THREADS, os.cpu_count() or 1)
    store: _Store[Item] = _Store(most_bytes, workers)
    waiting, lock = iter(sources), threading.Lock()

    def work() -> None:
        try:
            while True:
                with lock:
                    source = next(waiting, None)
                if source is None:
                    return
                for item in read(source):
                    store.put(item, size(item))
        except _ClosedError:
            return
        except BaseException as error:  # whatever it is, the consumer must hear of it
            with contextlib.suppress(_ClosedError):
                store.put(error)
        finally:
            store.producer_ends()

    threads = [threading.Thread(target=work, name=f"reader-{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield iter(store)
    finally:
        store.close()
        for thread in threads:
            thread.join()
