"""The result of an estimate on a Dask DataFrame: like an :class:`~dowhy_cina.EffectResult`, with rows left in place.

Letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from dowhy_cina.results.diagnostics import EffectiveSampleSize
from dowhy_cina.results.effect import Plan


@dataclass(frozen=True)
class PartitionedResult:
    """An estimated average effect of a table in partitions.

    Attributes
    ----------
    value, standard_error, confidence_interval, p_value, confidence_level, target, outcome_scale
        As in :class:`~dowhy_cina.EffectResult`.
    balance : DataFrame
        Standardised mean differences, as there.
    effective_sample_size : EffectiveSampleSize
    duality_gap, worst_case_bias, worst_case_bias_before, correction_share, degrees_of_freedom : float
        As there.
    plan : Plan
        ``rows`` are those of the two arms.
    rows_set_aside : int
    checkpoint, augmentation : str
    weights, propensity : Dask Series, shape (N,)
        A partition for each of the table's, with its index; computed when they are asked for. Weights are zero and
        propensities NaN for rows set aside.
    """

    value: float
    standard_error: float | None
    confidence_interval: tuple[float, float] | None
    p_value: float | None
    confidence_level: float
    target: str
    outcome_scale: float
    balance: pd.DataFrame
    effective_sample_size: EffectiveSampleSize
    duality_gap: float
    worst_case_bias: float
    worst_case_bias_before: float
    correction_share: float
    degrees_of_freedom: float
    plan: Plan
    rows_set_aside: int
    checkpoint: str
    augmentation: str
    weights: Any
    propensity: Any

    def __repr__(self) -> str:
        error = "" if self.standard_error is None else f", standard_error={self.standard_error:.4g}"
        return f"PartitionedResult(value={self.value:.6g}{error}, target={self.target!r}, rows={self.plan.rows})"
