"""What type checkers are told of the direct calls.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict


class DaskFrame(Protocol):
    """A Dask DataFrame as far as it has to be told from other tables: Dask is not typed."""

    @property
    def npartitions(self) -> int: ...  # noqa: D102

    def to_delayed(self) -> Any: ...  # noqa: D102


class EffectOptions(TypedDict, total=False):
    """Keyword arguments of :func:`dowhy_cina.estimate_effect`, which documents them."""

    covariates: Sequence[str] | None
    treatment_value: Any
    control_value: Any
    target_units: Any
    augmentation: str
    checkpoint: str
    device: str
    confidence_level: float
    sample_weight: Any
    cluster: Any
    refine: float | None
    memory_limit: str | None
    landmarks: int
