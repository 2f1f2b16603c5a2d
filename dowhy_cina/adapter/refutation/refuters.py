"""The refuters by DoWhy's names: how many refits each takes, what it is held against, what its verdict means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dowhy_cina.adapter.refutation import simulations as draws
from dowhy_cina.adapter.refutation.simulations import Draw
from dowhy_cina.adapter.refutation.tables import RefitSetting
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError

#: Landmarks per 1,000 rows of refits without an effect to find, and of refits on other rows; shorter tables have as
#: many. With more of them single refits change a little, and the law of many does not, which is all that a refuter
#: looks at. On longer tables that law is narrower, and takes more of them. docs/benchmarks.rst has figures.
NULL_LANDMARKS, REDRAWN_LANDMARKS = 48, 96


@dataclass(frozen=True)
class Refits:
    """The refits that a refuter asks for.

    Attributes
    ----------
    count : int
    draw : callable
    held : bool
        Whether they hold the settings predicted for the table itself.
    landmarks : int or None
        Landmarks of a refit per 1,000 rows, with the default estimator; as many as in the estimate if None, or if the
        user has named a number of them.
    """

    count: int
    draw: Draw
    held: bool = True
    landmarks: int | None = None

    def most_landmarks(self, options: EstimatorOptions, rows: int) -> int | None:
        """Bound on the landmarks of a refit, from the options of the estimate and the rows of its table."""
        if self.landmarks is None or options.landmarks is not None or options.augmentation == "none":
            return None
        return math.ceil(self.landmarks * max(1.0, rows / 1000))


@dataclass(frozen=True)
class Refuter:
    """A refuter whose refits are compared with one value.

    Attributes
    ----------
    name : str
        DoWhy's method name.
    label : str
        A few words for a picture.
    plan : callable
        From the setting and the number of simulations asked for to the refits; raises InputError, with the reason, if
        the refuter does not apply.
    has_effect : bool
        Whether the refits should find the estimate again; they should find zero otherwise.
    passes, fails : str
        What either verdict means.
    in_outcome_unit : bool
        Whether the refits are in the outcome's unit; in standard deviations of a dummy outcome otherwise.
    by_error : bool
        Whether it is the standard error of the estimate that says how far its refits may be from it; the p-value does
        otherwise.
    is_range : bool
        Whether the refits are a range to be looked through, and no sample of one law: there is no p-value then.
    uninformative : str
        Why it cannot speak for an estimate that is not distinguishable from zero; empty if it can.
    """

    name: str
    label: str
    plan: Callable[[RefitSetting, int], Refits]
    has_effect: bool
    passes: str
    fails: str
    in_outcome_unit: bool = True
    by_error: bool = False
    is_range: bool = False
    uninformative: str = ""


def _plan_of(
    draw: Callable[[RefitSetting, np.random.Generator], draws.RefitTable],
    needs_outcome: bool = True,
    held: bool = True,
    landmarks: int | None = None,
) -> Callable[[RefitSetting, int], Refits]:
    def plan(setting: RefitSetting, simulations: int) -> Refits:
        if needs_outcome:
            _check_outcome_varies(setting)
        return Refits(simulations, draws.fixed(draw, setting), held, landmarks)

    return plan


def _plan_hidden_causes(setting: RefitSetting, simulations: int) -> Refits:
    _check_outcome_varies(setting)
    strengths = draws.observed_strengths(setting, max(2, math.isqrt(simulations)))
    return Refits(len(strengths), draws.graded(setting, strengths))


def _check_outcome_varies(setting: RefitSetting) -> None:
    treated, control = setting.arms(setting.table)
    outcome = setting.table.outcome.to_numpy()[treated | control]
    if outcome.size and np.ptp(outcome) == 0:
        raise InputError("the outcome is constant, so that every effect is zero whatever is changed.")


REFUTERS = (
    Refuter(
        "random_common_cause",
        "random common cause",
        _plan_of(draws.random_common_cause),
        has_effect=True,
        passes="a covariate of pure noise leaves the effect where it was, as it should",
        fails="a covariate of pure noise moves the effect: the estimate hangs on what should not matter",
        by_error=True,
    ),
    Refuter(
        "placebo_treatment_refuter",
        "placebo treatment",
        _plan_of(draws.placebo_treatment, landmarks=NULL_LANDMARKS),
        has_effect=False,
        passes="with the treatment shuffled there is no effect left, as it should be",
        fails="an effect is left although the treatment was shuffled: the estimator finds effects where none are",
        uninformative="with the treatment shuffled no effect is left, but the estimate cannot be told from zero either",
    ),
    Refuter(
        "data_subset_refuter",
        "subset of the data",
        # The network's settings answer to the number of rows.
        _plan_of(draws.data_subset, held=False, landmarks=REDRAWN_LANDMARKS),
        has_effect=True,
        passes=f"{100 * draws.SUBSET_FRACTION:.0f} % of the rows, drawn at random, give about the same effect",
        fails=f"{100 * draws.SUBSET_FRACTION:.0f} % of the rows, drawn at random, give another: a few rows decide it",
    ),
    Refuter(
        "bootstrap_refuter",
        "bootstrap with noise",
        # Rows that are drawn twice look like an outcome without noise: the network's settings answer to that.
        _plan_of(draws.bootstrap, held=False, landmarks=REDRAWN_LANDMARKS),
        has_effect=True,
        passes="the effect stays when the rows are drawn again and the covariates measured with a little noise",
        fails="the effect moves when the rows are drawn again and the covariates measured with a little noise",
    ),
    Refuter(
        "dummy_outcome_refuter",
        "dummy outcome",
        _plan_of(draws.dummy_outcome, needs_outcome=False, landmarks=NULL_LANDMARKS),
        has_effect=False,
        passes="an outcome of pure noise shows no effect, as it should",
        fails="an outcome of pure noise shows an effect: the estimator finds effects where none are",
        in_outcome_unit=False,
    ),
    Refuter(
        "add_unobserved_common_cause",
        "unobserved common cause",
        _plan_hidden_causes,
        has_effect=True,
        passes="a hidden common cause as strong as the observed ones would not bring the effect to zero",
        fails="a hidden common cause as strong as the observed ones could bring the effect to zero",
        is_range=True,
        uninformative="the estimate cannot be told from zero, without any hidden common cause",
    ),
)

#: The check of overlap, which refits nothing.
OVERLAP = "assess_overlap"
NAMES = (*(refuter.name for refuter in REFUTERS), OVERLAP)
