"""What rows of a cluster or a level have in common: how many count, whether they can be compared, and what is left.

Letters: N rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dowhy_cina.mathematics.scaling import Array

Codes = npt.NDArray[np.int64]

#: Share of the variance that lies between clusters from which on their rows are taken for copies of each other.
MOST_ALIKE = 0.95
#: Fewest independent rows of a level, half of which have to have as many, and share of the treatment's variance that
#: has to be left inside the levels: of less, nothing can be compared there.
LEAST_ROWS, LEAST_INSIDE = 2, 0.1


def independent_share(values: Array, cluster: Codes | None) -> float:
    """How many of rows count, by rows, where clusters have their values (N,), which sum to about zero, in common.

    One without clusters, and where values are as independent inside them as between them: the inverse of Kish's design
    effect of a mean.
    """
    squares = float(values @ values)
    if cluster is None or squares <= 0:
        return 1.0
    return 1 / max(1.0, float((np.bincount(cluster, values) ** 2).sum()) / squares)


def apart_from_clusters(values: Array, cluster: Codes) -> Array:
    """Values (N,) less what their clusters have in common by a model with random effects, see :data:`MOST_ALIKE`.

    That is the cluster's mean times ``n u / (n u + w)``, of n rows, and variances u between clusters and w inside them.
    """
    sizes = np.bincount(cluster)
    means = np.bincount(cluster, values) / np.maximum(sizes, 1)
    free, inside = len(values) - (sizes > 0).sum(), float(((values - means[cluster]) ** 2).sum())
    if free <= 0:
        return values
    noise = inside / free
    between = float(sizes @ (means - values.mean()) ** 2) - ((sizes > 0).sum() - 1) * noise
    between = max(between / (len(values) - float(sizes @ sizes) / len(values)), 0.0)
    if between >= MOST_ALIKE * (between + noise):
        return values
    common: Array = (sizes * between / (sizes * between + noise) * means)[cluster]
    return values - common


def comparable(sizes: Array, treated: Array, share: float = 1.0) -> bool:
    """Whether rows can be compared inside the levels of a label, given rows and treated rows of each.

    Of its rows so many count as independent.
    """
    inside, total = (
        (treated * (1 - treated / np.maximum(sizes, 1))).sum(),
        treated.sum() * (1 - treated.sum() / sizes.sum()),
    )
    return bool(inside >= LEAST_INSIDE * total and np.median(share * sizes[sizes > 0]) >= LEAST_ROWS - 1e-9)
