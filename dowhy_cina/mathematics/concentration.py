"""How few rows weights may rest on, and a noise does; without torch, for those who judge weights too."""

from __future__ import annotations

import sys
from typing import Any

#: Factor of the cube root of an arm's rows in the effective sample size that weights have at least, and the share of
#: its rows above which that does not go.
LEAST_FACTOR, LARGEST_SHARE = 3.0, 0.5


def least_size(rows: float) -> float:
    """Effective sample size that the weights of an arm of so many rows have at least."""
    return min(LEAST_FACTOR * float(rows ** (1 / 3)), LARGEST_SHARE * rows)


#: Fourth moment of a normal variable in squares of its variance.
NORMAL_KURTOSIS = 3.0


def effective_number(squares: Any, fourth: Any) -> Any:
    """Effective number of units that carry a noise, from sums of second and fourth powers of their contributions.

    About as many as there are for normal contributions of one variance, fewer where some units carry most of the noise:
    what Satterthwaite's rule takes a sum of squares to be worth in squares of one normal variable. Arrays or tensors.

    References
    ----------
    Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics Bulletin 2(6).
    """
    return NORMAL_KURTOSIS * squares**2 / (fourth + sys.float_info.min)
