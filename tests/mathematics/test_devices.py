"""Devices by name, with and without a GPU."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from threadpoolctl import threadpool_info

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.devices import (
    available_devices,
    one_blas_thread,
    one_thread_each,
    resolve_device,
    stay_inside,
)


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many GPUs."""
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_without_gpu(gpus):
    gpus(0)
    assert available_devices() == ["cpu"]
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(InputError, match=f"device '{name}' is not present; expected 'auto' or one of .*cpu"):
            resolve_device(name)


def test_with_two_gpus(gpus):
    gpus(2)
    assert available_devices() == ["cpu", "cuda:0", "cuda:1"]
    assert resolve_device("auto") == torch.device("cuda:0")
    for name in ("cpu", "cuda", "cuda:1"):
        assert resolve_device(name) == torch.device(name)
    with pytest.raises(InputError, match="cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "xpu"])
def test_unknown(name):
    with pytest.raises(InputError, match="is not present"):
        resolve_device(name)


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_threads_are_put_back_whatever_happens():
    @one_thread_each()
    def interrupted():
        inside.extend([torch.get_num_threads(), *blas_threads()])
        raise KeyboardInterrupt

    before, threads, inside = torch.get_num_threads(), blas_threads(), []
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert set(inside) == {1}
        assert torch.get_num_threads() == 3
        assert blas_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_only_who_limits_the_blas_puts_it_back():
    threads, inside = blas_threads(), []

    def limited():
        with one_blas_thread():
            inside.extend(blas_threads())

    def in_another_thread():
        thread = threading.Thread(target=limited)
        thread.start()
        thread.join()

    with one_blas_thread():
        in_another_thread()
        assert set(blas_threads()) == {1}
    assert blas_threads() == threads
    in_another_thread()
    assert set(inside) == {1}
    assert blas_threads() == threads


@pytest.fixture
def three_threads():
    """A process in which torch has more than one thread, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def elsewhere(look):
    """What a new thread sees."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(look).result()


class User:
    """A thread that goes in and out when told."""

    def __init__(self, has_used_torch):
        self._pool = ThreadPoolExecutor(1)
        if has_used_torch:
            self.threads()

    def _do(self, act):
        return self._pool.submit(act).result(timeout=60)

    def threads(self):
        return self._do(torch.get_num_threads)

    def set_threads(self, number):
        self._do(lambda: torch.set_num_threads(number))

    def enter(self):
        self._block = one_thread_each()
        self._do(self._block.__enter__)

    def leave(self):
        self._do(lambda: self._block.__exit__(None, None, None))


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("has_used_torch", [True, False])
@pytest.mark.parametrize("leaving", list(itertools.permutations(range(3))))
def test_the_last_one_out_puts_the_threads_back(has_used_torch, leaving):
    of_blas, users = blas_threads(), [User(has_used_torch) for _ in range(3)]
    for user in users:
        user.enter()
        assert user.threads() == 1
        assert set(blas_threads()) == {1}
    for place in leaving:
        users[place].leave()
        assert users[place].threads() == 3
    assert elsewhere(torch.get_num_threads) == 3
    assert blas_threads() == of_blas
    assert [user.threads() for user in users] == [3, 3, 3]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("leaving", [(0, 1), (1, 0)])
def test_a_threads_own_number_is_its_own(leaving):
    users = [User(True), User(True)]
    users[0].set_threads(2)  # the process's number too, which the next line sets back
    torch.set_num_threads(3)
    for user in users:
        user.enter()
    for place in leaving:
        users[place].leave()
    assert [user.threads() for user in users] == [2, 3]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_inside_again_and_in_a_pool_that_was_started_inside():
    def again():
        seen = [torch.get_num_threads()]
        with one_thread_each():
            seen.append(torch.get_num_threads())
        return [*seen, torch.get_num_threads()]

    other = User(True)
    other.enter()
    with one_thread_each(), ThreadPoolExecutor(1, "test", stay_inside) as pool:
        assert set(again()) == {1}
        assert set(pool.submit(again).result()) == {1}
        other.leave()
        assert set(pool.submit(again).result()) == {1}
        assert set(again()) == {1}
    assert torch.get_num_threads() == elsewhere(torch.get_num_threads) == 3


def test_mps_is_refused():
    with pytest.raises(NotImplementedError, match=r"mps.*float64.*device='cpu'"):
        resolve_device("mps")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_double_precision():
    assert torch.ones(3, dtype=torch.float64, device=resolve_device("auto")).sum() == 3


MAPPED = """
import ctypes, torch
from dowhy_cina.mathematics.devices import keep_freed_memory

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info

def is_mapped():
    before = libc.mallinfo2().hblks
    block = torch.empty(16 * 2**20, dtype=torch.uint8)
    return libc.mallinfo2().hblks > before
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="thresholds of glibc's malloc")


def run_with(code, **variables):
    """What code prints in a process with these variables alone that speak to the C library."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    command = [sys.executable, "-c", MAPPED + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


@needs_glibc
def test_freed_memory_is_kept_for_the_next_block():
    """A block that the system gives and takes back alone is mapped; one from memory that was kept is not."""
    code = "keep_freed_memory()\nprint(is_mapped())"
    assert run_with(code) == ["False"]
    assert run_with(code, MALLOC_MMAP_THRESHOLD_="131072") == ["True"]  # the caller's own setting stands


HOLES = """
from pathlib import Path
from dowhy_cina.mathematics.devices import LONG_TABLE, return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

keep_freed_memory()
blocks = [torch.ones(2**17, dtype=torch.float64) for _ in range(200)]
last = torch.ones(2**17, dtype=torch.float64)  # which keeps the system from taking those before it back
full = resident()
del blocks
kept = resident()
return_freed_memory(LONG_TABLE - 1)
print(full - resident() < 2**25, end=" ")
return_freed_memory(LONG_TABLE)
print(kept - resident() > 150 * 2**20)
"""


@needs_glibc
def test_freed_memory_of_a_long_table_goes_back():
    assert run_with(HOLES) == ["True", "True"]
