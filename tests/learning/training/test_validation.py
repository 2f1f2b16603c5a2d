"""Validation tables are none that training sees."""

from __future__ import annotations

import dataclasses

import pytest

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.training.collections import Simulators, draw_batch
from dowhy_cina.learning.training.validation import validation_batches

FAMILIES = ("mixed", "linear")
QUICK = TrainingConfig(min_rows=40, max_rows=60, max_columns=4, landmarks=16, tables_per_batch=2)


def contents(batch):
    """Covariates of every table of a batch, to be compared byte by byte."""
    return [table.numpy().tobytes() for table in batch.table.covariates]


@pytest.mark.parametrize("seed", [0, 3])
def test_no_validation_table_is_a_training_table(seed):
    """Training draws the same families in the same shapes, so that only the streams keep them apart."""
    config = dataclasses.replace(QUICK, seed=seed)
    kept = [table for batch in validation_batches(config, FAMILIES, 20) for table in contents(batch)]
    streams = [dataclasses.replace(config, tables_per_batch=tables) for tables in (1, 2)]
    trained = [
        table
        for stream in streams
        for index in range(20)
        for table in contents(draw_batch(seed, index, stream, Simulators(FAMILIES)))
    ]
    assert len(set(kept)) == 20
    assert len(trained) == 60
    assert not set(kept) & set(trained)


def test_validation_tables_follow_the_seed():
    one, other = (
        [contents(batch) for batch in validation_batches(dataclasses.replace(QUICK, seed=seed), FAMILIES, 4)]
        for seed in (0, 1)
    )
    assert all(a != b for a, b in zip(one, other, strict=True))
