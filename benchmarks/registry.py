"""What pretraining on tables of one's own brings: errors of true effects in new clinics, before and after.

    python benchmarks/registry.py [--minutes 5] [--steps N] [--clinics 24] [--scored 200] [--csv FILE]

Two folders without outcomes: clinics that select patients alike, and tables of as many rows and columns in which
nothing is alike. With ``--steps`` a run does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy_cina.simulators import SimulatedTable, draw_table
from dowhy_cina.simulators.clinics import COLUMNS, draw_clinics
from dowhy_cina.training import OWN, pretrain_folder
from tqdm import tqdm

import dowhy_cina

START = "cina-small"


def unlike(rng: np.random.Generator, count: int) -> list[SimulatedTable]:
    """Tables of the clinics' shape from one family, each with a selection of its own."""
    rows = rng.integers(150, 401, count)
    return [draw_table(rng, int(size), len(COLUMNS), families=["networks"]) for size in rows]


KINDS: dict[str, Callable[[np.random.Generator, int], list[SimulatedTable]]] = {
    "clinics that select alike": draw_clinics,
    "tables with nothing alike": unlike,
}


def errors(tables: list[SimulatedTable], checkpoint: str, augmentation: str) -> np.ndarray:
    """Absolute errors of the average effects, in sd of the outcome."""
    found = []
    for table in tqdm(tables, desc=f"{Path(checkpoint).name}, {augmentation}", leave=False):
        result = dowhy_cina.estimate_effect(
            table.covariates, table.treatment, table.outcome, checkpoint=checkpoint, augmentation=augmentation
        )
        found.append(abs(result.value - table.effect) / table.outcome.std())
    return np.array(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=0, help="length of the run in steps instead of minutes")
    parser.add_argument("--clinics", type=int, default=24, help="tables of the folder")
    parser.add_argument("--scored", type=int, default=200, help="new tables that errors are measured on")
    parser.add_argument("--kind", choices=list(KINDS), help="one of the folders alone")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    config = dataclasses.replace(OWN, seconds=60 * arguments.minutes, steps=arguments.steps)
    found = []
    for kind in [arguments.kind] if arguments.kind else KINDS:
        draw = KINDS[kind]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "tables"
            folder.mkdir()
            for number, table in enumerate(draw(np.random.default_rng(1), arguments.clinics)):
                frame = pd.DataFrame(table.covariates, columns=COLUMNS).assign(treated=table.treatment.astype(int))
                frame.to_csv(folder / f"{number:03d}.csv", index=False)
            output = Path(place) / "own.safetensors"
            report = pretrain_folder(folder, treatment="treated", config=config, output=output)
            print(f"{kind}\n{report}")
            new = draw(np.random.default_rng(2), arguments.scored)
            for augmentation in ("kernel", "none"):
                before, after = (errors(new, name, augmentation) for name in (START, str(output)))
                ratio = after.mean() / before.mean()
                # Of the ratio of means, by the delta method over pairs.
                error = (after - ratio * before).std() / np.sqrt(len(new)) / before.mean()
                row = {"tables": kind, "augmentation": augmentation, "before": before.mean(), "after": after.mean()}
                row |= {"ratio": ratio, "standard_error": error, "random_outcomes": report.held_out.ratio}
                found.append({**row, "kept": "trained" if report.kept else "start"})
    table = pd.DataFrame(found).round(4)
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
