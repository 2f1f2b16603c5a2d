"""The result of an estimate on a Dask DataFrame: an :class:`~dowhy_cina.EffectResult` whose rows stay where they are.

Letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dowhy_cina.results.effect import AverageEffect


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PartitionedResult(AverageEffect):
    """An estimated average effect of a table in partitions: figures as in ``AverageEffect``, and rows left in place.

    Attributes
    ----------
    weights, propensity : Dask Series, shape (N,)
        A partition for each of the table's, with its index; computed when they are asked for, and left out of
        ``to_dict()``. Weights are zero and propensities NaN for rows set aside.
    """

    left_out = ("weights", "propensity")

    weights: Any
    propensity: Any
