"""Indicators of levels: columns of two values of which no two are ever one in the same row, whoever has made them.

What is asked of the rows are sums over each level, so that parts of a table can be added.

Letters: B tables, N rows, n of any rows, D covariates, L indicators of a label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Tables
from dowhy_cina.mathematics.design_effects import comparable, independent_share
from dowhy_cina.mathematics.passes import each_strip, sum_blocks
from dowhy_cina.mathematics.scaling import Array

#: Fewest levels of a label that a ridge does not learn by itself.
LEAST_LEVELS = 10
#: Fewest indicators that stand for one column.
LEAST_GROUP = 3
#: Columns that may turn out to be in no label before the search for further labels ends.
MOST_FAILURES = 20
#: Rows that indicators which have nothing to do with each other would share, of those that share none.
LEAST_SHARED = 10.0
#: Rows that show whether a table has indicators at all.
_GLANCED_ROWS = 256

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Indicators:
    """Indicators of the labels of one table, and what they are made of.

    Attributes
    ----------
    groups : tuple of list of int
        Covariates that are the indicators of each label.
    zeros, ones : ndarray, shape (D,)
        The two values of each indicator, the rarer one last.
    """

    groups: tuple[list[int], ...]
    zeros: Array
    ones: Array

    @classmethod
    def of(
        cls, covariates: Float[Tensor, "N D"], least: int = LEAST_LEVELS, cluster: Codes | None = None
    ) -> Indicators | None:
        """Look for groups of so many columns of two values, no two of them one in the same row; None without any."""
        low, high = covariates.amin(0), covariates.amax(0)
        binary = (((covariates == low) | (covariates == high)).all(0) & (low < high)).nonzero()[:, 0]
        # Those of rare levels may point either way.
        frequent = (covariates == high).sum(0) * 2 > len(covariates)
        ones = torch.where(frequent, low, high)

        def together(strip: slice) -> Tensor:
            own = (covariates[strip, binary] == ones[binary]).float()
            return (own.T @ own).double()

        if len(binary) < least:
            return None
        counts = sum_blocks(each_strip(len(covariates), together)).cpu().numpy()
        rows = len(covariates) / _distinct_share(covariates, cluster)
        groups = [sorted(binary[group].tolist()) for group in _disjoint(counts, least, rows)]
        zeros = torch.where(frequent, high, low)
        return cls(tuple(groups), zeros.cpu().numpy(), ones.cpu().numpy()) if groups else None

    @property
    def others(self) -> list[int]:
        """Covariates that are no indicators."""
        used = {column for group in self.groups for column in group}
        return [column for column in range(len(self.ones)) if column not in used]

    def _levels(self, place: int, covariates: Float[Tensor, "n D"]) -> Codes:
        """Level of rows in one label: from 1 the place of the row's indicator in its group, 0 of rows without any."""
        columns = torch.tensor(self.groups[place], device=covariates.device)
        ones = torch.from_numpy(self.ones).to(covariates)[columns]
        numbers = torch.arange(1, len(columns) + 1, dtype=torch.float64, device=covariates.device)
        strips = each_strip(len(covariates), lambda strip: (covariates[strip, columns] == ones).double() @ numbers)
        codes: Codes = torch.cat(strips).long().cpu().numpy()
        return codes

    def sums(self, place: int, covariates: Float[Tensor, "n D"], treatment: Array) -> Array:
        """Sums (L + 1, 2 + 3 K) over the rows of each level of one label; those of parts of a table can be added.

        Of 1 and t, and of x, x squared and x t for every other covariate.
        """
        codes, count = self._levels(place, covariates), len(self.groups[place]) + 1
        found = [np.ones(len(codes)), treatment]
        for column in self.others:
            values = covariates[:, column].cpu().numpy()
            found += [values, values**2, values * treatment]
        return np.stack([np.bincount(codes, values, count) for values in found], 1)

    def repeated(self, covariates: Float[Tensor, "n D"], treatment: Array, cluster: Codes | None) -> int:
        """Columns by which there are more than one for each label inside whose levels rows can be compared."""
        count = 0
        for place, share in enumerate(self.independent(covariates, treatment, cluster)):
            codes = self._levels(place, covariates)
            sizes, treated = (np.bincount(codes, of).astype(np.float64) for of in (np.ones_like(treatment), treatment))
            count += len(self.groups[place]) - 1 if comparable(sizes, treated, share) else 0
        return count

    def independent(self, covariates: Float[Tensor, "n D"], treatment: Array, cluster: Codes | None) -> list[float]:
        """Independent rows by rows, as far as clusters have in common what the levels of each label leave of t."""
        if cluster is None:
            return [1.0] * len(self.groups)
        found = []
        for place in range(len(self.groups)):
            codes = self._levels(place, covariates)
            left = treatment - (np.bincount(codes, treatment) / np.maximum(np.bincount(codes), 1))[codes]
            found.append(independent_share(left, cluster))
        return found


def _distinct_share(covariates: Float[Tensor, "N D"], cluster: Codes | None) -> float:
    """Rows by rows that are no copies of another one of their cluster."""
    if cluster is None:
        return 1.0
    kinds = pd.DataFrame(covariates.cpu().numpy()).assign(cluster=cluster)
    return 1 - float(kinds.duplicated().mean())


def _disjoint(counts: Array, least: int, rows: float) -> list[list[int]]:
    """Groups of so many columns of which no two have a row in common, given how many of the rows each two have.

    Each time the column is taken that misses most of those that are left: the other levels of its label, and few of
    another one's, which it misses by chance.
    """
    apart, sizes = counts == 0, counts.diagonal()
    left, groups, failures = np.ones(len(counts), dtype=np.bool_), list[list[int]](), 0
    while failures < MOST_FAILURES:
        left &= apart[:, left].sum(1) >= least - 1
        candidates, group = left.copy(), list[int]()
        partners = apart[:, left].sum(1)
        while candidates.any():
            best = int(np.argmax(np.where(candidates, partners * (sizes.max() + 1) + sizes, -1)))
            group.append(best)
            gone = candidates & ~apart[best]
            partners = partners - apart[:, gone].sum(1)
            candidates &= apart[best]
        if len(group) >= least and _shared_by_chance(sizes[group], rows) >= LEAST_SHARED:
            groups.append(group)
            left[group] = False
        elif group:
            failures += 1
            left[group[0]] = False
        else:
            break
    return groups


def _shared_by_chance(sizes: Array, rows: float) -> float:
    """Rows that two or more of independent columns would share, counted for each pair, if so many rows have each."""
    return float(sizes.sum() ** 2 - sizes @ sizes) / (2 * rows)


def may_have_labels(covariates: Float[Tensor, "B N D"], least: int = LEAST_LEVELS) -> Bool[Tensor, " B"]:
    """Whether as many columns as a label needs have two values in the first rows of tables."""
    glance = covariates[:, :_GLANCED_ROWS]
    low, high = glance.amin(1, keepdim=True), glance.amax(1, keepdim=True)
    return ((glance == low) | (glance == high)).all(1).sum(1) >= least


def repeated_columns(
    covariates: Float[Tensor, "B N D"], treatment: Float[Tensor, "B N"], cluster: Int[Tensor, "B N"] | None = None
) -> Tables:
    """Columns that are no more than further levels of the same labels, in each table."""
    found = torch.zeros_like(treatment[:, 0])
    for place in may_have_labels(covariates, LEAST_GROUP).nonzero()[:, 0].tolist():
        rows, t = covariates[place], treatment[place].cpu().numpy()
        own = None if cluster is None else cluster[place].cpu().numpy()
        indicators = Indicators.of(rows, LEAST_GROUP, own)
        if indicators is not None:
            found[place] = indicators.repeated(rows, t, own)
    return found
