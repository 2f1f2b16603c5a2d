"""Memory: sizes as users write them, what a limit lets an estimate keep, and a GPU that lacks memory."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
import torch

import dowhy_cina
from dowhy_cina.errors import InputError
from dowhy_cina.mathematics import memory
from dowhy_cina.mathematics.memory import (
    CLUSTER_COPIES,
    format_memory,
    memory_needed,
    parse_memory,
    plan_memory,
    with_smaller_blocks,
)
from dowhy_cina.mathematics.rows import KERNELS, Storage

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4e9),
        ("500 MB", 5e8),
        ("1.5GiB", 1.5 * 2**30),
        ("2g", 2e9),
        ("64KiB", 65536),
        ("1000", 1000),
        ("1TB", 1e12),
    ],
)
def test_sizes(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0GB", "4 apples", "4GBB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="memory_limit must be a size such as '4GB'"):
        parse_memory(text)


@pytest.mark.parametrize("size", [1, 10**6, 484_000_001, 9_999_000_001, 10**10 + 1, 123_456_789_012])
def test_a_written_size_suffices(size):
    assert size <= parse_memory(format_memory(size)) <= max(1.02 * size, 10**6)


def test_more_memory_keeps_more():
    shape = 10_000, 10, 128
    choices = ((), ("balance",), ("balance", "control", "treated"))
    sizes = [memory_needed(*shape, len(kept)) for kept in choices]
    assert sizes == sorted(sizes)
    for kept, size in zip(choices, sizes, strict=True):
        assert plan_memory(*shape, CPU, str(size)).storage.kept == kept
    with pytest.raises(InputError, match="smallest that works") as error:
        plan_memory(*shape, CPU, str(sizes[0] - 1))
    smallest = re.search(r"works is '(\w+)'", str(error.value))[1]
    assert plan_memory(*shape, CPU, smallest).storage.kept == ()


def test_clusters_take_memory():
    plain, clustered = (plan_memory(10**5, 10, 128, CPU, "10GB", clusters=count).needed for count in (0, 1000))
    assert clustered - plain == 8 * CLUSTER_COPIES * 1000 * 128


def test_nobody_limited_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    assert plan_memory(10**6, 10, 128, CPU, None).storage.kept == ()
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**12)
    for rows, kept in ((16_000, KERNELS), (17_000, ("balance",)), (131_000, ("balance",)), (132_000, ())):
        assert plan_memory(rows, 10, 128, CPU, None).storage.kept == kept
    assert plan_memory(10**6, 10, 128, torch.device("cuda"), "10TB").storage.kept == KERNELS


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [("3000000000", 10**9, 2 * 10**9), ("max", 10**9, 8_192_000_000), ("3000000000", 4 * 10**9, 0)],
)
def test_free_memory_is_what_the_control_group_leaves_of_it(monkeypatch, tmp_path, limit, used, free):
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / name.lstrip("/"))
    assert memory.free_memory(CPU) == free


@pytest.mark.parametrize(
    ("pages", "free"), [({"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10**6}, 4_096_000_000), (None, 4e9)]
)
def test_free_memory_where_linux_is_not(monkeypatch, tmp_path, pages, free):
    """As on macOS, where it is all of the machine's, and on Windows."""
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / name.lstrip("/"))
    if pages is None:
        monkeypatch.delattr(memory.os, "sysconf")
    else:
        monkeypatch.setattr(memory.os, "sysconf", pages.__getitem__)
    assert memory.free_memory(CPU) == free


def table(rows=3000):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return x, t, x[:, 0] + t + rng.normal(size=rows)


@pytest.mark.parametrize("options", [{}, {"target_units": "att"}, {"augmentation": "none"}, {"refine": 1e-3}])
def test_what_is_kept_changes_no_number(options):
    data = table()
    free = dowhy_cina.estimate_effect(*data, **options)
    for kept in (0, 1):
        limit = str(memory_needed(len(data[0]), 4, free.plan.landmarks, kept))
        limited = dowhy_cina.estimate_effect(*data, **options, memory_limit=limit)
        assert (free.plan.kept_kernels, limited.plan.kept_kernels) == (3, kept)
        assert limited.plan.memory < free.plan.memory
        assert limited.value == pytest.approx(free.value, rel=1e-6)
        assert limited.standard_error == pytest.approx(free.standard_error, rel=1e-6)
        assert limited.duality_gap == pytest.approx(free.duality_gap, abs=1e-6)
        np.testing.assert_allclose(limited.weights, free.weights, atol=1e-6 * free.weights.max())


def test_a_limit_that_is_too_small_says_so():
    with pytest.raises(InputError, match=r"memory_limit='1MB' is too small for 3000 rows x 4 columns.*smallest"):
        dowhy_cina.estimate_effect(*table(), memory_limit="1MB")


def test_a_gpu_without_memory_gets_smaller_blocks(caplog):
    tried = []

    def run(storage):
        tried.append(storage)
        if storage.block_entries > 300:
            raise torch.OutOfMemoryError("out of memory")
        return "done"

    with caplog.at_level(logging.WARNING):
        assert with_smaller_blocks(run, Storage(KERNELS, 1000)) == ("done", Storage((), 250))
    assert [storage.block_entries for storage in tried] == [1000, 500, 250]
    assert len(caplog.records) == 1
    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_blocks(run, Storage(KERNELS, 10**6))
    with pytest.raises(ValueError, match="another"):
        with_smaller_blocks(lambda storage: int("another"), Storage())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree():
    cpu, gpu = (dowhy_cina.estimate_effect(*table(), device=device) for device in ("cpu", "cuda"))
    assert gpu.value == pytest.approx(cpu.value, rel=1e-5)
    assert gpu.standard_error == pytest.approx(cpu.standard_error, rel=1e-5)
    np.testing.assert_allclose(gpu.weights, cpu.weights, atol=1e-5 * cpu.weights.max())
