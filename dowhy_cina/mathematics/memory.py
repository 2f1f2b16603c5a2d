"""How much memory an estimate may take, and what it keeps for that: features of the rows, or nothing but sums of them.

Letters: N rows, D covariates, M landmarks.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.rows import BLOCK_ENTRIES, KERNELS, Storage, block_rows

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)

#: Share of the free memory that an estimate plans with if no limit is given.
DEFAULT_SHARE = 0.5
#: Memory assumed to be free where the system does not say.
UNKNOWN_MEMORY = 4 * 10**9
#: Copies of the columns (given, encoded, sorted, standardised, readable, keys of a kernel) that exist at once.
COLUMN_COPIES = 9
#: Values per row beside the columns and the features: weights, scores, means, residuals, contributions.
ROW_VECTORS = 60
#: What a table of any length takes: blocks, factors of Grams, the pilot fit.
FIXED_BYTES = 100 * 10**6
#: Features of one kernel that balancing copies beside those that are kept.
BALANCE_COPIES = 1
#: Copies of a feature vector for each cluster of rows: sums of the features, and how the cluster pulls each fit.
CLUSTER_COPIES = 6
#: Entries of a block on a GPU, whose kernels wait for launches rather than for a cache.
GPU_BLOCK_ENTRIES = 2**24
#: What may be kept, the most first: the two outcome regressions are read as often, so that neither is kept alone.
CHOICES = (KERNELS, KERNELS[:1], ())
#: Bytes of features on a CPU up to which each of these is worth its memory: longer tables stream them as quickly.
WORTH_KEEPING = (2**26, 2**28, 0)
#: Blocks are halved this often before a GPU's lack of memory is final.
HALVINGS = 4
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_FLOAT = 8


@dataclass(frozen=True)
class MemoryPlan:
    """What is kept, and the memory that it takes.

    Attributes
    ----------
    storage : Storage
    needed : int
        Estimated bytes at the peak, beside what the process holds already.
    limit : int
        Bytes that were allowed.
    """

    storage: Storage
    needed: int
    limit: int


def parse_memory(text: str) -> int:
    """Bytes of a size such as "4GB", "500 MB" or "1.5GiB".

    Raises
    ------
    InputError
        If it is no size.
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE | re.ASCII)
    if not match or not float(match[1]):
        raise InputError(f"memory_limit must be a size such as '4GB' or '500MB', got {text!r}.")
    unit = _UNITS[match[2].upper()]
    factor = 1024 ** (len(str(unit)) // 3) if match[3] else unit
    return int(float(match[1]) * factor)


def format_memory(size: int) -> str:
    """Write a number of bytes as :func:`parse_memory` reads it, rounded up so that it suffices."""
    megabytes = -(-size // 10**6)
    return f"{megabytes}MB" if megabytes < 10**4 else f"{-(-megabytes // 100) / 10:g}GB"


def free_memory(device: torch.device) -> int:
    """Bytes that a new computation could take on a device; on a CPU within the limit of its control group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [UNKNOWN_MEMORY]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")] or found
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        if not Path("/proc/meminfo").exists() and hasattr(os, "sysconf"):
            found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    return max(min(found), 0)


def memory_needed(rows: int, columns: int, landmarks: int, kept: int) -> int:
    """Bytes at the peak if the features of so many kernels are kept."""
    other = _FLOAT * rows * (COLUMN_COPIES * max(columns, 1) + ROW_VECTORS)
    return FIXED_BYTES + other + feature_bytes(rows, landmarks, kept)


def feature_bytes(rows: int, landmarks: int, kept: int) -> int:
    """Bytes of the features of so many kernels, and of the copies that balancing makes of one."""
    return _FLOAT * rows * landmarks * (kept + BALANCE_COPIES if kept else 0)


def longest_kept(columns: int, landmarks: int, limit: int, device: torch.device) -> int:
    """Rows up to which features of the balancing layer are kept within a limit."""
    per_row = memory_needed(1, columns, landmarks, 1) - FIXED_BYTES
    fits = max(0, (limit - FIXED_BYTES) // per_row)
    return fits if device.type != "cpu" else min(fits, WORTH_KEEPING[1] // feature_bytes(1, landmarks, 1))


def plan_memory(
    rows: int, columns: int, landmarks: int, device: torch.device, limit: str | None, clusters: int = 0
) -> MemoryPlan:
    """Keep as many kernels' features as the limit allows.

    Parameters
    ----------
    rows, columns, landmarks : int
        Sizes of the table; columns after encoding.
    device : torch.device
    limit : str, optional
        For example "4GB"; a share of :data:`DEFAULT_SHARE` of the free memory by default.
    clusters : int
        Of the rows; none by default.

    Raises
    ------
    InputError
        If the limit is too small for any plan; the message names the smallest that works.
    """
    allowed = int(DEFAULT_SHARE * free_memory(device)) if limit is None else parse_memory(limit)
    of_clusters = _FLOAT * CLUSTER_COPIES * clusters * landmarks
    needed = {kept: memory_needed(rows, columns, landmarks, len(kept)) + of_clusters for kept in CHOICES}
    fits = [kept for kept, size in needed.items() if size <= allowed]
    if device.type == "cpu":
        own = dict(zip(CHOICES, WORTH_KEEPING, strict=True))
        fits = [kept for kept in fits if feature_bytes(rows, landmarks, len(kept)) <= own[kept]]
    # An estimate of the memory is no reason to refuse work that nobody limited.
    if not fits and limit is not None:
        raise InputError(
            f"memory_limit={limit!r} is too small for {rows} rows x {columns} columns with {landmarks} landmarks: the "
            f"smallest that works is {format_memory(needed[CHOICES[-1]])!r}. Raise it, or use a Dask DataFrame."
        )
    kept = fits[0] if fits else CHOICES[-1]
    entries = GPU_BLOCK_ENTRIES if device.type == "cuda" else BLOCK_ENTRIES
    _LOG.debug("features of %d kernels kept: %d of %d bytes", len(kept), needed[kept], allowed)
    return MemoryPlan(Storage(kept, entries), needed[kept], allowed)


def rows_of_a_block(storage: Storage, landmarks: int) -> int:
    """Rows whose features are computed at once."""
    return block_rows(landmarks, storage.block_entries)


def with_smaller_blocks(run: Callable[[Storage], Result], storage: Storage) -> tuple[Result, Storage]:
    """Run, and on a GPU that lacks memory run again with nothing kept and blocks half as large, with one warning.

    Parameters
    ----------
    run : callable
        Takes the storage.
    storage : Storage
        What to begin with.

    Raises
    ------
    torch.OutOfMemoryError
        If memory lacks with the smallest blocks too.
    """
    for attempt in range(HALVINGS):
        try:
            return run(storage), storage
        except torch.OutOfMemoryError:
            if not attempt:
                _LOG.warning("The GPU lacks memory: the estimate goes on with smaller blocks, which takes longer.")
            storage = replace(storage, kept=(), block_entries=max(1, (storage.block_entries or BLOCK_ENTRIES) // 2))
    return run(storage), storage
