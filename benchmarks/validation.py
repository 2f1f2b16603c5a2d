"""Errors of a checkpoint, its untrained start and the exact solver on the validation tables of its recipe.

    python benchmarks/validation.py CHECKPOINT [--csv FILE]

The tables are simulated: families that training has seen, as other draws ("inside"), and families kept from it
("outside"). Errors are mean absolute errors of the effect in sd of the outcome.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pandas as pd
import torch
from dowhy_cina.training.objectives import TrainingBatch
from dowhy_cina.training.validation import validate, validation_batches
from sklearn.svm import SVC
from tqdm import tqdm

from dowhy_cina.config import TrainingConfig, from_mapping
from dowhy_cina.mathematics.balancing import weights_from_alpha
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel

FIGURES = ("augmented", "weights_only", "regression", "paper", "gap")


def exact_error(batch: TrainingBatch) -> float:
    """Error of the CInA dual solved to tolerance (Gaussian kernel of bandwidth sqrt(D), box 10), weights alone."""
    x, signs = batch.table.covariates[0].numpy(), batch.table.signs[0].numpy()
    solved = SVC(C=10.0, gamma=1 / (2 * x.shape[1])).fit(x, signs)
    alpha = torch.zeros_like(batch.table.outcome)
    alpha[0, solved.support_] = torch.from_numpy(solved.dual_coef_[0]).abs()
    weights = weights_from_alpha(alpha, batch.table.signs)
    return float(((weights * batch.table.signs * batch.table.outcome).sum() - batch.labels.effect[0]).abs())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    model, header = checkpoint.read(arguments.checkpoint)
    config = from_mapping(TrainingConfig, header["recipe"], "recipe of the checkpoint")
    config = dataclasses.replace(config, seed=config.seed + 1)  # other tables than those that chose the checkpoint
    start = CinaModel(model.config).double().eval()
    rows = []
    for part, families in (("inside", header["families"]), ("outside", config.validation_families)):
        batches = validation_batches(config, families, 2 * config.validation_tables)
        for name, candidate in (("untrained start", start), ("trained", model)):
            figures = validate(candidate, batches)
            rows.append({"families": part, "model": name, **{key: figures[key] for key in FIGURES}})
        errors = [exact_error(batch) for batch in tqdm(batches, desc="exact solver")]
        rows.append({"families": part, "model": "exact solver", "paper": sum(errors) / len(errors), "gap": 0.0})
    table = pd.DataFrame(rows).set_index(["families", "model"])
    print(table.round(4).to_string())
    if arguments.csv:
        table.round(5).to_csv(arguments.csv)


if __name__ == "__main__":
    main()
