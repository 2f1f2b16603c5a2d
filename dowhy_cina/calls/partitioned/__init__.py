"""Tables on many machines: an estimate as sums over the partitions of a Dask DataFrame, whose rows stay there."""

from dowhy_cina.calls.partitioned.columns import Roles
from dowhy_cina.calls.partitioned.estimate import estimate_partitioned
from dowhy_cina.calls.partitioned.result import PartitionedResult

__all__ = ["PartitionedResult", "Roles", "estimate_partitioned"]
