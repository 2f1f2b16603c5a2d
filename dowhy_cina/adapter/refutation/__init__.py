"""DoWhy's refuters as one battery: refits in batches, one table of verdicts."""

from dowhy_cina.adapter.refutation.battery import refute
from dowhy_cina.adapter.refutation.report import COLUMNS, Refutation, RefutationReport

__all__ = ["COLUMNS", "Refutation", "RefutationReport", "refute"]
