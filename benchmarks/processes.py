"""Tables per second of training with one process and with two under torchrun, on one core each.

    python benchmarks/processes.py [--steps 40] [--repeats 3] [--csv FILE]

Both draw the same tables and take the same steps of four batches; each process computes and draws its tables with one
thread. The fastest of the repeats counts. ``waiting share`` is the first process's time spent on drawing or waiting for
tables; what two processes lose in waiting for each other is in ``efficiency``, their tables per second over twice those
of one. The largest relative difference of the losses is printed.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parent.parent
PRETRAIN = ["-m", "dowhy_cina.cli", "pretrain", str(ROOT / "recipes" / "cina-selfsup.toml")]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone"]


class Found(NamedTuple):
    """Figures of a run: tables, the seconds of its steps, the share of them spent waiting for tables, the losses."""

    tables: int
    seconds: float
    waiting: float
    losses: list[float]


def train(processes: int, steps: int) -> Found:
    """Train from the fixed rule for some steps."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "x.safetensors"
        settings = {"steps": steps, "validation_every": max(1, steps // 4), "validation_tables": 2, "workers": 0}
        settings |= {"min_rows": 500, "max_rows": 500}
        launcher = [*TORCHRUN, f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *launcher, *PRETRAIN, "--output", str(output)]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        subprocess.run(
            command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        state = torch.load(output.with_suffix(".state"), weights_only=True)
        with output.with_suffix(".csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    # The first row is written after the first validation, before any step; the state before the last validation.
    seconds = state["seconds"] - float(rows[0]["seconds"])
    losses = [float(row["loss"]) for row in rows[1:]]
    return Found(state["counters"]["tables"], seconds, state["counters"]["waited"] / seconds, losses)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    found: dict[int, list[Found]] = {1: [], 2: []}
    for _ in range(arguments.repeats):
        for processes, runs in found.items():
            runs.append(train(processes, arguments.steps))
    pairs = zip(found[1][0].losses, found[2][0].losses, strict=True)
    print(f"largest relative difference of the losses: {max(abs(a - b) / abs(a) for a, b in pairs):.1e}")
    records = []
    for processes, runs in found.items():
        best = min(runs, key=lambda run: run.seconds)
        rate = best.tables / best.seconds
        records.append(
            {"processes": processes, "tables": best.tables, "seconds": best.seconds, "tables per second": rate}
            | {"waiting share": best.waiting}
        )
    table = pd.DataFrame(records)
    table["efficiency"] = table["tables per second"] / table["processes"] / table["tables per second"].iloc[0]
    print(table.round(3).to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
