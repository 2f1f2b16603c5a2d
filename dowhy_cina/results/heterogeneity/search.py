"""Groups that differ most: found in one half of the rows, judged by the other.

Letters: n compared rows, D columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dowhy_cina.errors import whole_number
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.groups import GroupEffects
from dowhy_cina.results.heterogeneity.learned import Halves

#: Fewest rows of a group, and smallest share of all rows.
FEWEST_ROWS, SMALLEST_SHARE = 40, 0.1
#: Decimals of modelled effects, in units of the largest, that a search looks at: below is rounding.
_DECIMALS = 9


@dataclass(frozen=True, eq=False)
class FoundGroups:
    """Groups that a search named, and what rows that took no part in it say of them. Compared by identity.

    Attributes
    ----------
    groups : GroupEffects
        From the judging half alone: intervals that hold all groups at once, and the test of equal effects.
    labels : Series of ordered categories, n rows
        Group of every compared row.
    searched, judged : int
        Rows of either half.
    """

    groups: GroupEffects
    labels: pd.Series[Any]
    searched: int
    judged: int

    @property
    def differ(self) -> bool:
        """Whether the judging half finds different effects, at the level of its intervals."""
        return self.groups.p_value is not None and self.groups.p_value < 1 - self.groups.level

    def __str__(self) -> str:
        halves = f"searched in {self.searched} rows, judged by {self.judged} others"
        if len(self.groups.table) < 2:
            return f"no groups: the modelled effect does not vary ({halves})"
        words = (
            "the effects of these groups differ; which covariate is behind it, a tree does not tell, for covariates "
            "that go together stand in for each other"
            if self.differ
            else "not shown that the effects of these groups differ; that is not to say that they are the same"
        )
        return f"{self.groups}\n{halves}: {words}"


def search_groups(halves: Halves, most: int = 4) -> FoundGroups:
    """Divide the rows by a shallow tree on the effects that one half models, and estimate its leaves from the other.

    The order of rows and columns decides nothing. Of columns that order the rows alike, such as one and its negative,
    the groups are named by the first in the order of their names.

    Parameters
    ----------
    halves : Halves
    most : int
        Most groups.

    Returns
    -------
    FoundGroups

    Raises
    ------
    InputError, InputTypeError
        If fewer than two groups are allowed, or no whole number of them.

    References
    ----------
    Athey & Imbens (2016), Recursive partitioning for heterogeneous causal effects, PNAS 113.
    """
    most = whole_number(most, "the number of groups", 2)
    from sklearn.tree import DecisionTreeRegressor

    columns = _canonical(halves.covariates)
    values = columns.to_numpy(np.float64)
    size = min(max(FEWEST_ROWS, int(SMALLEST_SHARE * len(values))), len(values) // 2)
    tree = DecisionTreeRegressor(max_leaf_nodes=min(most, len(values)), min_samples_leaf=size, random_state=0)
    leaf = np.zeros(len(values), np.intp)
    if values.shape[1] and np.ptp(halves.effects) > 0:
        effects = np.round(halves.effects / np.abs(halves.effects).max(), _DECIMALS)
        rows = np.lexsort((*values.T, effects))
        leaf = tree.fit(values[rows], effects[rows]).apply(values)
    names = _named(columns, tree.tree_) if len(np.unique(leaf)) > 1 else {0: "all"}
    order = [int(at) for at in pd.Series(halves.effects).groupby(leaf).mean().sort_values().index]
    named = pd.Categorical([names[int(at)] for at in leaf], [names[at] for at in order], ordered=True)
    labels = pd.Series(named, name="group")
    judged = labels[halves.second].reset_index(drop=True)
    groups = halves.judge.group_effects(judged, simultaneous=True)
    return FoundGroups(groups, labels, int((~halves.second).sum()), int(halves.second.sum()))


def _canonical(covariates: pd.DataFrame) -> pd.DataFrame:
    """Columns by name, without those that order the rows as an earlier one does, be it the other way round.

    They divide the rows alike, and rounding would decide which of them a tree names.
    """
    kept: dict[bytes, Any] = {}
    for name in sorted(covariates.columns, key=str):
        code = np.unique(covariates[name].to_numpy(np.float64), return_inverse=True)[1]
        kept.setdefault(min(code.tobytes(), (code.max(initial=0) - code).tobytes()), name)
    return covariates[list(kept.values())]


def _named(covariates: pd.DataFrame, tree: Any) -> dict[int, str]:
    """Name of each leaf: the bounds that its rows are within."""
    columns = covariates.columns
    binary = [set(np.unique(covariates[name])) <= {0, 1} for name in columns]
    names: dict[int, str] = {}

    def visit(node: int, bounds: dict[int, Array]) -> None:
        if tree.children_left[node] < 0:
            texts = [_bounds(str(columns[at]), span, binary[at]) for at, span in bounds.items()]
            names[node] = ", ".join(texts)
            return
        at, cut = int(tree.feature[node]), float(tree.threshold[node])
        low, high = bounds.get(at, np.array([-np.inf, np.inf]))
        visit(int(tree.children_left[node]), bounds | {at: np.array([low, cut])})
        visit(int(tree.children_right[node]), bounds | {at: np.array([cut, high])})

    visit(0, {})
    return names


def _bounds(name: str, span: Array, binary: bool) -> str:
    low, high = span
    if binary:
        return f"{name} = {int(low > 0)}"
    if not np.isfinite(low):
        return f"{name} <= {high:.4g}"
    return f"{name} > {low:.4g}" if not np.isfinite(high) else f"{low:.4g} < {name} <= {high:.4g}"
