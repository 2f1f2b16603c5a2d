"""Devices by name, and threads by the size of the work."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

from dowhy_cina.errors import InputError

#: Rows of a table below which one thread is as quick as several, and far quicker where other processes want the cores:
#: threads that share small operations wait for each other at every one of them.
THREADED_ROWS = 10_000
#: Up to which glibc raises its threshold for blocks that are returned to the system at once, in bytes.
_LARGEST_THRESHOLD = 2**25
#: Rows from which an estimate leaves so much freed memory that it is returned.
LONG_TABLE = 100_000


@functools.cache
def _libraries() -> Any:
    """BLAS libraries of this process whose threads can be set."""
    return ThreadpoolController().select(user_api="blas")


class _Inside:
    """Python threads that are to compute with one thread: their number, and torch's setting before the first.

    ``limiter`` is the thread that keeps the BLAS to one thread: who has set it sets it back. ``forked`` says that the
    threads of OpenMP may be missing, which a forked process would wait for.
    """

    lock = threading.Lock()
    count = 0
    before = 1
    limiter: int | None = None
    forked = False


_THIS_THREAD = threading.local()


def _forget_other_threads() -> None:
    """Let nobody in a forked process wait for threads that are not in it."""
    _Inside.lock, _Inside.forked = threading.Lock(), True
    _Inside.count = int(getattr(_THIS_THREAD, "is_inside", False))
    if _Inside.limiter != threading.get_ident():
        _Inside.limiter = None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_other_threads)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the BLAS of numpy and scipy compute with one thread; where somebody sees to that already, nothing is done.

    A thread that it wakes for a small product keeps a core busy with waiting for the next one. Who has limited it sets
    it back, even if others are still inside: threadpoolctl ignores other threads, or OpenMP has a number for each.
    """
    with _Inside.lock:
        is_first = _Inside.limiter is None
        if is_first:
            _Inside.limiter = threading.get_ident()
    if not is_first:
        yield
        return
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        _Inside.limiter = None


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every Python thread compute with one thread; the settings are put back afterwards.

    Torch has a number of threads for each Python thread that has used it, and gives new ones the number that was set
    last. Inside already, nothing is done.
    """
    if is_alone():
        yield
        return
    with _Inside.lock:
        own = torch.get_num_threads()
        if not _Inside.count:
            _Inside.before = own
        elif own == 1:  # as those inside have made it, if this thread is new to torch
            own = _Inside.before
        torch.set_num_threads(1)
        _Inside.count += 1
    _THIS_THREAD.is_inside = True
    try:
        with one_blas_thread():
            yield
    finally:
        _THIS_THREAD.is_inside = False
        with _Inside.lock:
            _Inside.count -= 1
            torch.set_num_threads(own)


def is_alone() -> bool:
    """Whether this thread computes inside :func:`one_thread_each`."""
    return getattr(_THIS_THREAD, "is_inside", False)


def stay_inside() -> None:
    """Initialise a worker of a pool that is used inside :func:`one_thread_each`."""
    _THIS_THREAD.is_inside = True
    torch.set_num_threads(1)


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """Compute with one of the caller's threads if a table is small, or in a forked process; put the settings back."""
    with one_thread_each() if rows < THREADED_ROWS or _Inside.forked else nullcontext():
        yield


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep freed blocks for the next ones, once per process.

    A pass over a small table allocates and frees a hundred blocks of a megabyte. glibc returns such blocks to the
    system until a larger one has been freed, and taking them back costs up to a third of the time of an estimate.
    This block is as large as glibc's threshold can become; it is not touched and goes at once. Other C libraries
    ignore it.

    References
    ----------
    mallopt(3), on the dynamic M_MMAP_THRESHOLD.
    """
    torch.empty(_LARGEST_THRESHOLD - 2**20, dtype=torch.uint8)


def return_freed_memory(rows: int) -> None:
    """Let the C library give back to the system what an estimate of a long table has freed.

    What :func:`keep_freed_memory` saves is time with blocks of a megabyte. A long table leaves a gigabyte of holes, in
    which not even the blocks of the next one all find room.

    Parameters
    ----------
    rows : int
        Nothing is done for tables of fewer than :data:`LONG_TABLE`.

    References
    ----------
    malloc_trim(3). Other C libraries than glibc have none.
    """
    if rows >= LONG_TABLE and sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def available_devices() -> list[str]:
    """Names of the devices of this machine that compute in float64."""
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def resolve_device(name: str) -> torch.device:
    """Device of a name; "auto" is a GPU if there is one.

    Raises
    ------
    InputError
        If it is not present.
    NotImplementedError
        For Apple's mps, which cannot compute in float64.
    """
    present = available_devices()
    if name == "auto":
        return torch.device(present[min(1, len(present) - 1)])
    if name == "cpu" or name in present or (name == "cuda" and len(present) > 1):
        return torch.device(name)
    if name == "mps":
        raise NotImplementedError("device='mps' has no float64, which the closed forms need. Use device='cpu'.")
    raise InputError(f"device {name!r} is not present; expected 'auto' or one of {present}.")
