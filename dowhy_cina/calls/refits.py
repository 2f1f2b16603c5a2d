"""Fits of parts of an analysed table: what the other rows say of each row's effect, and halves that check each other.

A rule that is learned from rows must not be judged by them. The regressions are closed forms, so that a fit without a
fifth of the rows is one more table, and tables of one shape share a forward pass. What is a level of a label, and what
stands for a missing number, the whole table says: covariates alone decide it, and a part may lack what another has.

Letters: N rows of the caller, n of them compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina._caching import cached_property
from dowhy_cina.calls.analysis import Analysis, ConditionalEffects
from dowhy_cina.calls.batch import CHUNK_ROWS, shared_states
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.targets import NAMED
from dowhy_cina.model.state import ZeroShot
from dowhy_cina.results.effect import EffectResult
from dowhy_cina.results.heterogeneity import Halves, HeldOut
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.preparation import PreparedTable

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FOLDS = 5
#: Fewest rows, or clusters, of an arm that can be divided: two in each fold.
FEWEST = 2 * FOLDS
#: The folds of a table are always the same ones, and those of its rows in another order too.
_SEED = 20


@dataclass(frozen=True, eq=False)
class Refits:
    """The table of an estimate, ready to be fitted again without some of its rows.

    Attributes
    ----------
    covariates : DataFrame, n rows
        Encoded columns of numbers in the covariates' own units, an indicator for each level of a label.
    keep : ndarray of bool, shape (N,)
    treatment, outcome : ndarray, shape (n,)
    options : EstimatorOptions
    sample_weight, cluster : ndarray of shape (n,), optional
    """

    covariates: pd.DataFrame
    keep: Mask
    treatment: npt.NDArray[np.int8]
    outcome: Array
    options: EstimatorOptions
    sample_weight: Array | None = None
    cluster: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, table: PreparedTable) -> Refits:
        """Keep what refits of a table need."""
        treatment = table.treatment.astype(np.int8)
        parts = (table.readable, table.keep, treatment, table.outcome, table.options)
        return cls(*parts, table.sample_weight, table.cluster)

    @cached_property
    def held_out(self) -> HeldOut:
        """Modelled effect of each row, by the regressions of the other folds."""
        fold, found = self._parts(FOLDS), np.empty(len(self.treatment))
        for number, function in self.functions():
            found[fold == number] = function.at(self.covariates[fold == number])[0]
        effects, folds = np.full(len(self.keep), np.nan), np.full(len(self.keep), -1, dtype=np.intp)
        effects[self.keep], folds[self.keep] = found, fold
        return HeldOut(effects, folds)

    def functions(self) -> Iterator[tuple[int, ConditionalEffects]]:
        """Each fold's number, and the outcome regressions of the other folds."""
        fold = self._parts(FOLDS)
        tables = {number: self._prepared(fold != number) for number in range(FOLDS)}
        few = len(fold) * (FOLDS - 1) <= CHUNK_ROWS
        states = shared_states(tables) if few else {}
        for number in range(FOLDS):
            yield number, self._function(tables.pop(number), states.pop(number, None))

    @staticmethod
    def _function(table: PreparedTable, state: ZeroShot | None = None) -> ConditionalEffects:
        function = Analysis(table, state).function
        if function is None:
            raise InputError("expected an estimate with outcome regressions, got augmentation='none'.")
        return function

    def halves(self, target: str, members: Mask, confidence_level: float) -> Halves:
        """Fit one half of the rows for a search, and estimate in the other one by itself.

        Parameters
        ----------
        target : str
            Name of the target population.
        members : ndarray of bool, shape (N,)
            Rows of the target, where it has no name.
        confidence_level : float

        Returns
        -------
        Halves
        """
        second = self._parts(2) == 1
        function = self._function(self._prepared(~second))
        judge: EffectResult = Analysis(self._prepared(second)).effect(
            target if target in NAMED else members[self.keep][second], confidence_level
        )
        return Halves(function.at(self.covariates)[0], self.covariates, second, judge)

    def _parts(self, count: int) -> npt.NDArray[np.intp]:
        """Random parts (n,) of rows or whole clusters, each with as many of either arm."""
        rng = np.random.default_rng(_SEED)
        rows = self._prepared(np.ones(len(self.treatment), dtype=np.bool_)).rows
        shuffled = rows.order[rows.by_key(np.arange(len(rows.order)))][rng.permutation(len(rows.order))]
        part = np.empty(len(shuffled), dtype=np.intp)
        if self.cluster is not None:
            codes, sizes = self._dealt(shuffled)
            part[shuffled] = codes % count
        else:
            sizes = []
            for arm in (0, 1):
                own = shuffled[self.treatment[shuffled] == arm]
                # From the last part for the controls, so that the parts are of nearly one size.
                part[own] = np.arange(len(own)) % count if arm else count - 1 - np.arange(len(own)) % count
                sizes.append(len(own))
        if min(sizes) < FEWEST:
            raise InputError(
                f"expected at least {FEWEST} rows (or clusters) of each arm to learn from some and judge by others, "
                f"got {sizes[0]} controls and {sizes[1]} treated."
            )
        return part

    def _dealt(self, shuffled: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], list[int]]:
        """Numbers (n,) of the clusters of shuffled rows, as they are dealt out, and how many have rows of each arm.

        First those that have rows of one arm alone, of the larger one, then those with both, then the other arm's: so
        the clusters of either arm follow each other. Those of a kind stand as the first of their shuffled rows do.
        """
        assert self.cluster is not None
        codes, found = pd.factorize(self.cluster[shuffled])
        treatment = self.treatment[shuffled]
        control, treated = (np.bincount(codes, treatment == arm, len(found)) > 0 for arm in (0, 1))
        smaller = 1 if 2 * treatment.sum(dtype=np.int64) <= len(treatment) else -1
        place = np.empty(len(found), dtype=np.intp)
        place[np.argsort(smaller * (treated.astype(int) - control), kind="stable")] = np.arange(len(found))
        return place[codes], [int(control.sum()), int(treated.sum())]

    def _prepared(self, chosen: Mask) -> PreparedTable:
        """The table of some of the compared rows, standardised by themselves; what is constant in them is left out."""
        table = self.covariates[chosen]
        preprocessor = Preprocessor()
        treatment = self.treatment[chosen].astype(np.float64)
        codes = None if self.cluster is None else pd.factorize(self.cluster[chosen])[0].astype(np.int64)
        encoded = preprocessor.fit_transform(table, treatment, codes)
        weights = None if self.sample_weight is None else self.sample_weight[chosen]
        count = int(chosen.sum())
        return PreparedTable(
            encoded,
            treatment,
            self.outcome[chosen],
            np.ones(count, dtype=np.bool_),
            preprocessor,
            self.options,
            weights,
            codes,
            (table, codes),
        )
