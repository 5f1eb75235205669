"""Processes that share one piece of work, and end with the one that asked for it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def worker_pool(workers: int, prepare: Callable[..., object], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``workers`` fresh interpreters, each of which first calls ``prepare(*arguments)``.

    Left by an error or an interruption, it begins nothing more, and waits for what has begun, so that a file that is
    being written is written whole. Interruptions are the caller's to answer; workers whose caller was killed end too.
    """
    # a fresh interpreter: threads of numerical libraries do not survive a fork
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (prepare, arguments))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(prepare: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    prepare(*arguments)


def _end_with_the_caller() -> None:
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)
