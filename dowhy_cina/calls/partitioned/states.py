"""What is fitted to a partitioned table, and what is known of a partition's rows after each pass.

Letters: n rows of a partition. Every tensor has a first axis of one table.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.model.links import LogLink
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.outcome import OutcomeRegression
from dowhy_cina.model.sharing import ArmRegression
from dowhy_cina.model.spaces import OutcomeSpace
from dowhy_cina.model.state import ScoreModel, ScorePair, Settings

Rows = Float[Tensor, "1 n"]
Links = tuple[LogLink, list[LogLink]]


@dataclass(frozen=True)
class Fitted:
    """What is known of the whole table, step by step; sent to every worker.

    Attributes
    ----------
    model : CinaModel
    settings : Settings
    scores, pair
        As in :class:`dowhy_cina.model.state.ZeroShot`, once they are fitted.
    spaces : tuple of OutcomeSpace
        Of the outcome regressions that are still to be fitted.
    links : tuple
        Of the logarithms of each arm that has some: the kernel's, and those among which the columns choose.
    regressions : tuple of OutcomeRegression
        By the arms' own rows.
    arms : tuple of ArmRegression
        The same with what the arms borrow.
    balance_kernel : LandmarkKernel
    """

    model: CinaModel
    settings: Settings
    scores: ScoreModel
    spaces: tuple[OutcomeSpace, OutcomeSpace]
    links: tuple[Links | None, Links | None]
    regressions: tuple[OutcomeRegression, ...] = ()
    arms: tuple[ArmRegression, ...] = ()
    pair: ScorePair | None = None
    balance_kernel: LandmarkKernel | None = None

    @property
    def most_members(self) -> int:
        """Members of the regression that has more of them."""
        return max(len(regression.shares) for regression in self.regressions)


@dataclass(frozen=True)
class RowScores:
    """Propensity scores of a partition's rows.

    Attributes
    ----------
    fitted : Tensor, shape (1, n)
        A function of the covariates, of which keys are made.
    propensity : Tensor, shape (1, n)
        Leave-one-out.
    """

    fitted: Rows
    propensity: Rows


@dataclass(frozen=True)
class RawState:
    """What members say of a partition's rows; logarithms as they are, before their way back.

    Attributes
    ----------
    scores : RowScores
    fitted : tuple of tuple of Tensor, shape (1, n)
        By the fits of the control and of the treated arm.
    clean : tuple of Tensor, shape (1, n)
        By the other rows of each row's own arm.
    """

    scores: RowScores
    fitted: tuple[tuple[Rows, ...], tuple[Rows, ...]]
    clean: tuple[Rows, ...]

    def fitted_of(self, regression: OutcomeRegression, arm: int) -> list[Rows]:
        """What the members of an arm's regression say of all rows, in the outcome's unit."""
        return regression.in_outcomes(list(self.fitted[arm]))

    def clean_of(self, regression: OutcomeRegression) -> list[Rows]:
        """What the members of an arm's regression say of its rows by the others, in the outcome's unit."""
        return regression.in_outcomes(list(self.clean[: len(regression.shares)]))


@dataclass(frozen=True)
class OwnState:
    """What the regressions of the arms by their own rows say of a partition's rows, not kept within their ranges.

    Attributes
    ----------
    scores : RowScores
    fitted : tuple of Tensor, shape (1, n)
        Predictions by the fits of the control and of the treated arm.
    clean : Tensor, shape (1, n)
        By the other rows of each row's own arm.
    """

    scores: RowScores
    fitted: tuple[Rows, Rows]
    clean: Rows


@dataclass(frozen=True)
class RowState:
    """What is known of a partition's rows.

    Attributes
    ----------
    scores : RowScores
    means : tuple of Tensor, shape (1, n)
        Predicted mean outcomes of both arms.
    loo_residuals : Tensor, shape (1, n)
        Errors of predictions by all other rows.
    prognosis : tuple of Tensor, shape (1, n)
        As in :class:`~dowhy_cina.model.fitting.FittedOutcome`, of both arms.
    """

    scores: RowScores
    means: tuple[Rows, Rows]
    loo_residuals: Rows
    prognosis: tuple[Rows, Rows]
