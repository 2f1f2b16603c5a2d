"""How few rows the weights of an arm may rest on; without torch, for those who judge weights too."""

from __future__ import annotations

#: Factor of the cube root of an arm's rows in the effective sample size that weights have at least, and the share of
#: its rows above which that does not go.
LEAST_FACTOR, LARGEST_SHARE = 3.0, 0.5


def least_size(rows: float) -> float:
    """Effective sample size that the weights of an arm of so many rows have at least."""
    return min(LEAST_FACTOR * float(rows ** (1 / 3)), LARGEST_SHARE * rows)
