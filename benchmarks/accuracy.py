"""The figures that a checkpoint is judged by, each beside its goal; exit code 1 if a goal is missed.

    python benchmarks/accuracy.py [CHECKPOINT] [--data FOLDER] [--tables 100] [--csv FOLDER] [--write]

Simulated figures are always measured, on families that the checkpoint's training has not seen. With FOLDER, which holds
a ``load.py`` (see ``benchmarks/tables.py``), the published tables are measured too, all rows. ``--write`` puts the
figures into the checkpoint's header, where ``dowhy-cina info`` shows them.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy_cina.evaluation import METHODS, evaluate
from tables import COLLECTIONS, realisations
from tqdm import tqdm

import dowhy_cina
from dowhy_cina.model import checkpoint

#: No ratio is taken to an error below this, in sd of the outcome: smaller ones are noise.
FLOOR = 0.015
#: Largest ratio to the best classical method of a family.
RATIOS = dict.fromkeys(COLLECTIONS, 1.25) | {"lalonde_psid_realcause": 1.5, "lalonde_cps_realcause": 1.5}
#: Estimators that the checkpoint is to be no worse than on families it has not seen.
RIVALS = ("AIPW, boosted trees", "kernel ridge per arm", "exact")
Figures = dict[str, tuple[float, float]]


def published_figures(name: str, folder: Path, limit: int | None) -> tuple[Figures, pd.DataFrame]:
    """Geometric mean of the errors and ratios to the best classical method, with their goals, and all errors."""
    errors: dict[str, dict[str, float]] = {}
    gaps: list[float] = []
    for collection in COLLECTIONS:
        found: dict[str, list[float]] = {}
        for x, t, y, truth in tqdm(list(realisations(folder, collection))[:limit], desc=collection):
            values = {method: function(x, t.astype(float), y)[0] for method, function in METHODS.items()}
            for label, augmentation in (("checkpoint", "kernel"), ("checkpoint, weights alone", "none")):
                result = dowhy_cina.estimate_effect(x, t, y, checkpoint=name, augmentation=augmentation)
                values[label] = result.value
            gaps.append(result.duality_gap)  # of the zero-shot values: the last one is arm against arm
            for method, value in values.items():
                found.setdefault(method, []).append(abs(value - truth["ate"]) / y.std())
        errors[collection] = {method: float(np.mean(parts)) for method, parts in found.items()}
    table = pd.DataFrame(errors)
    means = np.exp(np.log(table).mean(axis=1))
    goal = min(0.030, float(means["AIPW, boosted trees"]))
    figures = {"published tables: geometric mean of MAE / sd(Y)": (float(means["checkpoint"]), goal)}
    figures["published tables: median relative duality gap"] = (float(np.median(gaps)), 0.05)
    figures["published tables: 95th percentile of the gap"] = (float(np.quantile(gaps, 0.95)), 0.2)
    for collection in COLLECTIONS:
        best = max(FLOOR, float(table.loc[list(METHODS), collection].min()))
        ratio = max(FLOOR, float(table.loc["checkpoint", collection])) / best
        figures[f"{collection}: error / best classical"] = (ratio, RATIOS[collection])
    return figures, table.assign(geometric_mean=means)


def simulated_figures(name: str, tables: int, rows: int) -> tuple[Figures, pd.DataFrame]:
    """Ratios of errors and gaps on the families that validation keeps from training, with their goals."""
    families = checkpoint.read_header(name)["recipe"]["validation_families"]
    table = evaluate(name, families, tables=tables, rows=rows, columns=40)
    errors = table["error"].groupby("method").mean()
    own = table.loc[(slice(None), "checkpoint, weights alone"), :]
    alone = errors["checkpoint, weights alone"] / errors["exact, weights alone"]
    return {
        "unseen families: weights alone / exact solution": (float(alone), 1.05),
        "unseen families: median relative duality gap": (float(own["gap"].max()), 0.05),
        "unseen families: 95th percentile of the gap": (float(own["gap_95"].max()), 0.2),
        "unseen families: error / best of AIPW, kernel ridge, exact": (
            float(errors["checkpoint"] / errors[list(RIVALS)].min()),
            1.0,
        ),
    }, table


def training_figures(name: str) -> Figures:
    """Share of the training time that was not spent in the model."""
    header = checkpoint.read_header(name)
    print(
        f"pretraining: {header['tables'] / header['seconds']:.1f} tables a second over {header['seconds'] / 3600:.1f} h"
    )
    if "waiting_share" not in header:  # not recorded by the first trainer
        return {}
    return {"pretraining: share of the time spent waiting for data": (header["waiting_share"], 0.1)}


def main() -> int:
    """Print the figures beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="cina-small")
    parser.add_argument("--data", type=Path, help="folder of the published tables")
    parser.add_argument("--realisations", type=int, help="at most so many of each collection")
    parser.add_argument("--tables", type=int, default=100, help="simulated tables of each family")
    parser.add_argument("--rows", type=int, default=2000, help="most rows of a simulated table")
    parser.add_argument("--csv", type=Path, help="write the errors of every method into this folder")
    parser.add_argument("--write", action="store_true", help="put the figures into the checkpoint's header")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    figures, simulated = simulated_figures(arguments.checkpoint, arguments.tables, arguments.rows)
    found = {"simulated": simulated}
    if arguments.data is not None:
        published, found["published"] = published_figures(arguments.checkpoint, arguments.data, arguments.realisations)
        figures |= published
    figures |= training_figures(arguments.checkpoint)
    for part, table in found.items():
        print(f"\n{part}\n{table.round(4).to_string(na_rep='-')}")
        if arguments.csv is not None:
            arguments.csv.mkdir(parents=True, exist_ok=True)
            table.round(5).to_csv(arguments.csv / f"{part}.csv")
    print(f"\n{'figure':62s}{'measured':>10s}{'goal':>8s}")
    for label, (value, goal) in figures.items():
        print(f"{label:62s}{value:10.4f}{goal:8.3f}  {'met' if value <= goal else 'MISSED'}")
    if arguments.write:
        model, header = checkpoint.read(arguments.checkpoint)
        measured = {label: value for label, (value, _) in figures.items()}
        checkpoint.write(checkpoint.resolve(arguments.checkpoint), model, header | {"figures": measured})
    return int(not all(value <= goal for value, goal in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
