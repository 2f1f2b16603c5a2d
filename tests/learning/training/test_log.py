"""What a run writes down: the curve, and TensorBoard's files beside it."""

from __future__ import annotations

import csv

import pytest
from tensorboard.backend.event_processing import event_accumulator

from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.learning.training import Simulators, pretrain


def test_tensorboard_shows_what_the_curve_holds(tmp_path):
    config = TrainingConfig(
        steps=4,
        min_rows=40,
        max_rows=60,
        max_columns=4,
        landmarks=16,
        tables_per_batch=2,
        batches_per_step=1,
        validation_every=2,
        validation_tables=2,
        workers=0,
        tensorboard=True,
    )
    output = tmp_path / "x.safetensors"
    small = ModelConfig(width=8, layers=1, heads=2)
    pretrain(config, Simulators(("additive",)), output=output, model_config=small, progress=False)
    with output.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    events = event_accumulator.EventAccumulator(str(output.with_suffix(".tensorboard")))
    events.Reload()
    shown = events.Scalars("loss")
    assert [event.step for event in shown] == [int(row["steps"]) for row in rows]
    assert [event.value for event in shown][1:] == pytest.approx([float(row["loss"]) for row in rows[1:]], rel=1e-6)
