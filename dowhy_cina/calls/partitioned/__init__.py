"""Tables on many machines: an estimate as sums over the partitions of a Dask DataFrame, whose rows stay there.

What rows add up to enters the same functions as elsewhere: ridge regressions from their Gram statistics, the scores'
divisors, the regressions' responses and what they miss, the trust in them, the Newton steps that balance, shrinkage,
bias parts, degrees of freedom, ridge and gap. Two things stay apart, because they need all rows in one place where they
stand elsewhere:

- the order of the passes (``model.forward`` beside :meth:`dowhy_cina.model.network.CinaModel.forward`): between two
  steps that depend on each other lies a pass over the partitions and a sum;
- moments of the covariates (``columns``, ``estimate._balance``, beside :mod:`dowhy_cina.mathematics.scaling` and
  :mod:`dowhy_cina.results.diagnostics`): theirs come from sorted columns, so that no order of rows changes a digit.
"""

from dowhy_cina.calls.partitioned.columns import Roles
from dowhy_cina.calls.partitioned.estimate import estimate_partitioned
from dowhy_cina.results.effect import PartitionedResult

__all__ = ["PartitionedResult", "Roles", "estimate_partitioned"]
