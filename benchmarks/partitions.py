"""Seconds of an estimate from Parquet on disk through Dask, beside the same design in memory.

    python benchmarks/partitions.py [--rows 1e6,1e7] [--columns 20] [--workers 2] [--memory 3GB] [--repeats 5]
                                    [--csv FILE]

Each worker is a process with one thread and a memory limit; the table is written to a temporary folder first, and never
read into one process. The table in memory has 1,000,000 rows. Seconds are medians, and beside those of a product of
matrices in the same run. Nothing is written while others keep the machine busy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.distributed import Client, LocalCluster
from measuring import REPEATS, Idleness, yardstick
from scale import EFFECT, linear_table

import dowhy_cina

PARTITION_ROWS = 100_000
IN_MEMORY_ROWS = 1_000_000


def write(folder: Path, rows: int, columns: int) -> None:
    """Write the linear design as Parquet, a file of its own seed for each partition."""
    for part in range(rows // PARTITION_ROWS):
        x, t, y = linear_table(PARTITION_ROWS, columns, seed=part)
        frame = pd.DataFrame(x, columns=[f"x{k}" for k in range(columns)]).assign(t=t, y=y)
        frame.to_parquet(folder / f"{part:04d}.parquet")


def timed(estimate: Callable[[], float], repeats: int) -> dict[str, float]:
    """Median seconds, beside the yardstick, and the error."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = estimate()
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds))
    return {"seconds": median, "times_yardstick": median / yardstick(), "error": abs(value - EFFECT)}


def through_dask(rows: int, columns: int, workers: int, memory: str, repeats: int) -> dict[str, float]:
    """Seconds from the files to the result, and the largest memory of a worker in between."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), rows, columns)
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=memory, dashboard_address=None, processes=True
        )
        with cluster, Client(cluster) as client:
            table = dd.read_parquet(name)
            roles = {"treatment": "t", "outcome": "y", "covariates": [f"x{k}" for k in range(columns)]}
            found = timed(lambda: dowhy_cina.estimate_effect(table, **roles).value, repeats)
            peak = max(client.run(peak_memory).values())
    return {**found, "peak_gb": peak / 1e9}


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def in_memory(columns: int, repeats: int) -> dict[str, float]:
    """Seconds of the table in memory."""
    table = linear_table(IN_MEMORY_ROWS, columns)
    dowhy_cina.estimate_effect(*linear_table(500, columns))
    found = timed(lambda: dowhy_cina.estimate_effect(*table).value, repeats)
    return {**found, "peak_gb": peak_memory() / 1e9}


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e6,1e7", type=lambda text: [int(float(part)) for part in text.split(",")])
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="3GB")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    dask.config.set({"distributed.comm.timeouts.connect": "60s"})
    # As the documentation recommends: workers keep freed blocks of up to 32 MB.
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25})
    idleness = Idleness(arguments.csv)
    memory = {"how": "in memory", "rows": IN_MEMORY_ROWS, **in_memory(arguments.columns, arguments.repeats)}
    records = [memory]
    print(memory, flush=True)
    for rows in arguments.rows:
        found = through_dask(rows, arguments.columns, arguments.workers, arguments.memory, arguments.repeats)
        idleness.look()
        records.append({"how": f"Dask, {arguments.workers} workers of {arguments.memory}", "rows": rows, **found})
        print(records[-1], f"{found['seconds'] / memory['seconds']:.1f} times the million in memory", flush=True)
    table = pd.DataFrame(records)
    table["times_the_million"] = table.seconds / np.float64(memory["seconds"])
    table["bytes_per_row"] = 1e9 * table.peak_gb / table.rows
    idleness.refuse()
    if arguments.csv:
        table.to_csv(arguments.csv, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
