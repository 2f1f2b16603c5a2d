"""Models that choose everything without looking at outcomes, for purely self-supervised training."""

from __future__ import annotations

import torch
from torch import nn

from dowhy_cina.model.encoder import COLUMN_FEATURES, TABLE_FEATURES, ColumnEncoder

#: Inputs of the encoder that outcomes enter: a column's gradient shares and associations in either arm, ...
COLUMN_OUTCOME_INPUTS = (1, 2, *range(9, 21))
#: ... and the outcome's shape, what its pilot fits explain, and their degrees of freedom.
TABLE_OUTCOME_INPUTS = (4, 5, 7, 8, 10, 11)


def blind_to_outcomes(encoder: ColumnEncoder) -> None:
    """Take away every input that an outcome enters, now and in all training to come.

    Settings then follow from covariates and treatment alone, also where the model is used with an outcome; the outcome
    models and prognostic scores stay closed forms with the settings of the fixed rule.
    """
    _take_away(encoder.column_input, COLUMN_OUTCOME_INPUTS, COLUMN_FEATURES)
    _take_away(encoder.table_input, TABLE_OUTCOME_INPUTS, TABLE_FEATURES)


def _take_away(layer: nn.Linear, inputs: tuple[int, ...], size: int) -> None:
    kept = torch.ones(size, dtype=layer.weight.dtype, device=layer.weight.device)
    kept[list(inputs)] = 0.0
    with torch.no_grad():
        layer.weight.mul_(kept)
    layer.weight.register_hook(lambda gradient: gradient * kept)  # type: ignore[no-untyped-call]
