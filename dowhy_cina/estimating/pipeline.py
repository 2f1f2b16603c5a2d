"""The way from a target population to an interval, step by step.

Everything that estimates comes this way: a single table, many tables at once, refits, training and calibration. Only
partitions of Dask do not, whose rows are never together; see :mod:`dowhy_cina.calls.partitioned`.

Letters: B tables, N rows, n target rows, M features.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.estimating.estimation import (
    Contributions,
    Effect,
    Moments,
    augmented_contributions,
    augmented_effect,
    moments_of,
    weighted_contributions,
    weighted_effect,
    worst_case,
)
from dowhy_cina.estimating.targets import Target
from dowhy_cina.estimating.variance import bias_parts, degrees_of_freedom, reached_by, sampling_variance, unseen_in
from dowhy_cina.estimating.weighting import Balancing, Weighting, arm_against_arm, balance_arms, uniform
from dowhy_cina.mathematics.balancing import Tables
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import TableBatch, ZeroShot, one_table

#: Steps that results are made of, beside the weights.
RESULTS = ("effect", "contributions", "variance", "degrees_of_freedom", "worst_case")


@dataclass(frozen=True)
class Estimation:
    """Estimates of a batch of tables after their forward pass, in sd of the outcome.

    Each step is worked out on first use, so that whoever needs the effect alone pays for no interval.

    Attributes
    ----------
    model : CinaModel
    table : TableBatch
    state : ZeroShot
        What the model's forward pass says of the tables.
    target : Target
    balancing : Balancing
    alone : bool
        Whether the weights estimate alone, without outcome regressions.
    """

    model: CinaModel
    table: TableBatch
    state: ZeroShot
    target: Target
    balancing: Balancing = field(default_factory=Balancing)
    alone: bool = False

    @cached_property
    def moments(self) -> Moments:
        """What the target is in the balancing layer and in the outcome regressions."""
        return moments_of(self.model, self.table, self.state, self.target, self.balancing.bandwidth)

    @cached_property
    def weighting(self) -> Weighting:
        """Weights that balance the arms against each other (the paper's), or each arm to the target."""
        if self.table.blank:
            return uniform(self.table)
        if self.target.name == "ate" and (self.alone or self.balancing.bandwidth is not None):
            return arm_against_arm(self.model, self.table, self.state, self.balancing)
        untouched = self.target.name if self.alone else None
        return balance_arms(self.model, self.table, self.state, self.moments.balance, self.balancing, untouched)

    @cached_property
    def effect(self) -> Effect:
        """The average effect in the target."""
        if self.alone:
            return weighted_effect(self.table, self.weighting.weights)
        return augmented_effect(self.table, self.state, self.moments, self.weighting.weights)

    @cached_property
    def contributions(self) -> Contributions:
        """What the error of the effect is made of."""
        weights = self.weighting.weights
        if self.alone:
            return weighted_contributions(self.table, self.moments, weights)
        return augmented_contributions(self.table, self.state, self.moments, weights, self.effect)

    @cached_property
    def sampling(self) -> Tables:
        """Variance by sampling."""
        seen = sampling_variance(self.contributions, self.target.foreign is None, self.table.cluster)
        return seen + unseen_in(self.table, self.contributions)

    @cached_property
    def bias(self) -> Float[Tensor, "B K"]:
        """Squares that speak of the bias that smoothing left."""
        regressions = (self.state.outcomes[0].regression, self.state.outcomes[1].regression)
        reached = reached_by(self.table, self.state, self.contributions)
        return bias_parts(regressions, self.state.balance_kernel.diagonal, self.moments, self.effect, reached)

    def of_one(self, place: int, table: TableBatch) -> Estimation:
        """Estimation of one table of the batch, which is given by itself; all is worked out, for the whole batch."""
        state, target = one_table((self.state, self.target), place)
        own = Estimation(self.model, table, state, target, self.balancing, self.alone)
        steps = {name: one_table(getattr(self, name), place) for name in RESULTS}
        vars(own).update(steps, weighting=self.weighting.of_one(place))
        return own

    @property
    def smaller_arm(self) -> Tables:
        """Rows of the smaller arm, or the clusters that they are in where there are any."""
        return torch.minimum(*self.table.arm_sizes)

    @property
    def columns(self) -> Tables:
        """Columns that tell how much of the tables may be left to learn."""
        return self.table.independent_columns

    @cached_property
    def variance(self) -> Tables:
        """Variance of the effect's error."""
        if self.alone or self.table.blank:
            return self.sampling
        variance: Tables = self.model.variance(self.sampling, self.bias, self.smaller_arm, self.columns)
        return variance

    @cached_property
    def degrees_of_freedom(self) -> Tables:
        """Of the t distribution of the effect's error in standard errors."""
        return degrees_of_freedom(self.contributions.scatter, self.table.cluster)

    @cached_property
    def worst_case(self) -> tuple[Tables, Tables]:
        """Worst-case shift per unit norm before and after weighting."""
        return worst_case(self.table, self.state, self.moments, self.weighting)
