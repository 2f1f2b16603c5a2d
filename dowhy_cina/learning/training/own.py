"""Pretraining on a folder of one's own tables without outcomes: half to train on, a quarter to stop by, one to report.

What is measured is the error of effects that random outcomes have on the tables' rows, see
:mod:`dowhy_cina.learning.simulators.outcomes`; a column that is named as the outcome is never read.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dowhy_cina.config import TrainingConfig, check_config
from dowhy_cina.errors import InputError, InputTypeError, as_path, came
from dowhy_cina.learning.training.folders import Tables
from dowhy_cina.learning.training.objectives import FLOOR, estimates
from dowhy_cina.learning.training.own_tables import listed, read_tables
from dowhy_cina.learning.training.processes import world
from dowhy_cina.learning.training.state import check_output
from dowhy_cina.learning.training.trainer import pretrain
from dowhy_cina.learning.training.validation import validation_batches
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel
from dowhy_cina.tables.files import check_apart

#: Standard errors by which the trained weights must be better on the validation tables to be kept.
MARGIN = 1.0
#: A run on own tables: few steps, large ones.
OWN = TrainingConfig(
    seconds=300.0,
    start="cina-small",
    outcomes=False,
    learning_rate=2e-3,
    warmup_steps=10,
    average_decay=0.95,
    batches_per_step=4,
    validation_every=25,
    validation_tables=128,
    patience=4,
)
#: Added to the seed of a run: the comparisons on either quarter come from streams of their own.
SEED_OFFSETS = {"validation": 3_000_003, "report": 4_000_003}


@dataclass(frozen=True)
class Comparison:
    """Mean absolute errors of the augmented estimate before and after training, in sd of the outcome.

    Attributes
    ----------
    before, after : float
    difference, standard_error : float
        Mean of after less before over pairs, in attainable standard errors, and its standard error.
    """

    before: float
    after: float
    difference: float
    standard_error: float

    @property
    def ratio(self) -> float:
        """Error after by error before."""
        return self.after / self.before


@dataclass(frozen=True)
class OwnReport:
    """What pretraining on own tables has brought.

    Attributes
    ----------
    output : Path
        The checkpoint.
    treatment : str
        Name of its column, in all tables.
    covariates : tuple of str
        Columns that all tables share, beside it.
    tables : tuple of int
        Tables trained on, that stopped the run, and that it is judged by.
    validation, held_out : Comparison
        On the second and on the third of these.
    kept : bool
        Whether the trained weights are kept; otherwise the checkpoint has those of the start.
    """

    output: Path
    treatment: str
    covariates: tuple[str, ...]
    tables: tuple[int, int, int]
    validation: Comparison
    held_out: Comparison
    kept: bool

    def __str__(self) -> str:
        found = self.held_out
        lines = [
            f"treatment {self.treatment!r}, {len(self.covariates)} shared covariates: {listed(self.covariates)}",
            f"tables: {self.tables[0]} to train on, {self.tables[1]} to stop by, {self.tables[2]} held out",
            f"held-out tables, random outcomes, mean error in sd: {found.before:.4f} before, {found.after:.4f} after "
            f"(ratio {found.ratio:.2f})",
        ]
        if not self.kept:
            lines.append("on the tables to stop by nothing was better: the weights of the start are kept")
        return "\n".join(lines)


def pretrain_folder(
    folder: str | Path,
    *,
    treatment: str = "",
    outcome: str = "",
    config: TrainingConfig = OWN,
    output: str | Path | None = None,
    resume: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> OwnReport:
    """Go on training a model on a folder of CSV or Parquet tables that share columns; no outcome is read.

    Parameters
    ----------
    folder : str or Path
        At least eight tables, each with ten rows of either arm. Where a ``collection.toml`` stands beside them, its
        roles of the columns hold unless others are given.
    treatment : str
        Column of the treatment; by default the column of two values that all tables have.
    outcome : str
        Column that is not read.
    config : TrainingConfig
        Settings of the run, ``OWN`` with changes: ``outcomes`` is False and ``random_outcomes`` True.
    output : str or Path, optional
        Checkpoint to write, outside of the folder; by default the folder's name in the working directory.
    resume, strict, progress : bool
        Go on from the last saved state; refuse a table that cannot be used instead of leaving it out; show progress.

    Returns
    -------
    OwnReport

    Raises
    ------
    InputError
        If there are not enough tables that can be used, they share no covariate, the treatment cannot be told, a
        column that is named is in none of them, the output is among them or would replace a file that is none of a
        run's, or the settings ask for outcomes; nothing is written.
    InputTypeError
        If a path, a name or the settings are none.
    CheckpointError
        If the start cannot be read or a file not be written.
    RunStoppedError
        As :func:`~dowhy_cina.training.pretrain`.
    """
    check_config(config, TrainingConfig, "config")
    for what, name in (("treatment", treatment), ("outcome", outcome)):
        if not isinstance(name, str):
            raise InputTypeError(f"{what} must be the name of a column as text, got {came(name)}.")
    folder = as_path(folder, "the folder of tables")
    output = as_path(output or f"{folder.resolve().name}{checkpoint.ENDING}", "output")
    check_output(output)
    _check_without_outcomes(config)
    found = read_tables(folder, treatment, outcome, strict)
    check_apart(output, folder)
    tables = found.tables
    order = np.random.default_rng(config.seed).permutation(len(tables))
    quarter = len(tables) // 4
    chosen = [tuple(tables[k] for k in part) for part in np.split(order, [quarter, 2 * quarter])]
    held, validation = (Tables((str(folder),), part, tables, whole=True) for part in chosen[:2])
    collection = Tables((str(folder),), chosen[2], chosen[2])
    pretrain(config, collection, output=output, validation=validation, resume=resume, progress=progress)
    start, header = checkpoint.read(config.start or "rule")
    trained, written = checkpoint.read(output)
    inside = compare((start, trained), validation, config, SEED_OFFSETS["validation"])
    # Of few validation tables the best of several checkpoints looks better than it is: other outcomes must agree.
    kept = inside.difference < -MARGIN * inside.standard_error
    if not kept:
        trained, written = start, header
    outside = compare((start, trained), held, config, SEED_OFFSETS["report"])
    if not world()[0]:
        figures = {"held-out tables, error before": outside.before, "held-out tables, error after": outside.after}
        checkpoint.write(output, trained, {**written, "figures": figures})
    counts = (len(chosen[2]), quarter, quarter)
    return OwnReport(output, found.treatment, found.covariates, counts, inside, outside, kept)


def _check_without_outcomes(config: TrainingConfig) -> None:
    """Raise if the settings ask for outcomes of the tables, or for none at all."""
    for name in ("outcomes", "random_outcomes"):
        expected, given = getattr(OWN, name), getattr(config, name)
        if given != expected:
            raise InputError(
                f"expected {name} = {str(expected).lower()} for a folder of tables, got {str(given).lower()}: no "
                "outcome of theirs is read, random ones stand in. Leave the setting out (in Python change "
                "dowhy_cina.training.OWN by dataclasses.replace), or write a recipe with a collection.toml."
            )


@torch.no_grad()
def compare(models: tuple[CinaModel, CinaModel], tables: Tables, config: TrainingConfig, offset: int) -> Comparison:
    """Errors of a first and a second model on the same random outcomes of whole tables, as many as a validation has."""
    config = dataclasses.replace(config, seed=config.seed + offset)
    errors, scaled = [], []
    for batch in validation_batches(config, tables, config.validation_tables):
        known = batch.labels
        assert known is not None  # of random outcomes
        found = [estimates(model, batch)["augmented"] for model in models]
        errors.append([float((value - known.effect).abs()) for value in found])
        in_units = [(value - known.label).abs() / (known.attainable + FLOOR) for value in found]
        scaled.append([float(value.clamp_max(10)) for value in in_units])
    before, after = np.mean(errors, axis=0).tolist()
    difference = np.diff(scaled, axis=1)[:, 0]
    return Comparison(before, after, float(difference.mean()), float(difference.std()) / math.sqrt(len(difference)))
