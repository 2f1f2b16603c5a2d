"""The battery: every refuter that applies, its refits in batches, one report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dowhy_cina.adapter.estimator import CinaEstimator
from dowhy_cina.adapter.refutation.refits import Tally, batches, run
from dowhy_cina.adapter.refutation.refuters import NAMES, REFUTERS, Refuter
from dowhy_cina.adapter.refutation.report import Refutation, RefutationReport, judge, judge_overlap
from dowhy_cina.adapter.refutation.tables import RefitSetting, read_setting
from dowhy_cina.errors import InputError, InputTypeError, came, check_known, whole_number
from dowhy_cina.results.effect import EffectResult

#: Colour of DoWhy's progress bars.
_BAR_COLOUR = "green"


def refute(
    model: Any,
    identified_estimand: Any,
    estimate: Any,
    *,
    refuters: str | Iterable[str] = "all",
    simulations: int = 100,
    random_state: int | np.random.Generator | np.random.RandomState | None = None,
    n_jobs: int = -1,
    progress: bool = True,
) -> RefutationReport:
    """Try to refute an estimate with DoWhy's refuters, whose refits share forward passes.

    The data of the refits follow the same laws as in DoWhy, and so do the tests; the answers are those of
    ``model.refute_estimate`` within simulation error, in a fraction of the time.

    Parameters
    ----------
    model : dowhy.CausalModel
        The model that the estimate was made with. Nothing of it is changed.
    identified_estimand : dowhy.causal_identifier.IdentifiedEstimand
        Its estimand.
    estimate : dowhy.causal_estimator.CausalEstimate
        From ``model.estimate_effect(identified_estimand, method_name="backdoor.cina", ...)``.
    refuters : "all", a name or a sequence of names
        DoWhy's method names: "random_common_cause", "placebo_treatment_refuter" (the treatment permuted),
        "data_subset_refuter" (four fifths of the rows), "bootstrap_refuter", "dummy_outcome_refuter",
        "add_unobserved_common_cause" (the direct simulation, over the range of the observed strengths) and
        "assess_overlap" (by the propensity scores of the estimate; nothing is refitted).
    simulations : int
        Refits per refuter, at least 2. From 100 on the p-value is that of a percentile test, below of a normal one.
    random_state : int, Generator, RandomState or None
        Seed, or a generator to draw one from. With a seed the report is the same each time, to the last bit whatever
        `n_jobs` is, and whichever other refuters run.
    n_jobs : int
        Threads over batches, each on one core; -1, the default, for one per core.
    progress : bool
        Whether to show one progress bar for all refits.

    Returns
    -------
    RefutationReport
        ``to_frame()``, ``print``, ``plot()`` and ``to_dict()`` show it. A refuter that does not apply is a row that
        says why. Interrupted (Ctrl-C), the report holds what was finished.

    Raises
    ------
    InputError, InputTypeError
        If the estimate is no estimate of this package, or an argument is of another kind or out of range.
    UnknownOptionError
        If there is no refuter of a name.

    Notes
    -----
    Refits of the default estimator have fewer landmarks on tables of less than a few thousand rows: 48 per 1,000 rows
    on a placebo or a dummy outcome, 96 on a subset or a bootstrap sample, and no fewer on shorter tables. Single refits
    change a little, their distribution does not. Refits with the covariates of the estimate hold the settings that the
    network predicts for it, and its steps and waves; those with a column more or other rows have their own.

    A covariate of noise moves any estimate whose settings answer to its columns a little, and mostly to one side. So
    "random_common_cause" passes as long as its refits are within one standard error of the estimate on the average,
    whatever DoWhy's p-value, which asks on which side of it they are and not how far away; without a standard error the
    p-value decides.

    DoWhy's direct simulation of a hidden common cause lets the changes of one point of its grid of strengths stay in
    the data of the next, so that treatments are flipped again and again; here every point starts from the data, as in
    DoWhy for a single strength. ``simulations`` becomes a square grid: ten by ten, DoWhy's default, for 100. It goes
    from the weakest to the strongest observed cause, by the sizes of their slopes and against the estimate, and passes
    if every refit is on the estimate's side of zero; DoWhy's range takes the signs that the coding of the covariates
    gives these slopes, and ends before the strongest.

    Examples
    --------
    >>> report = dowhy_cina.refute(model, estimand, estimate, simulations=5, random_state=0)
    >>> list(report.to_frame()["refuter"])[:3]
    ['random_common_cause', 'placebo_treatment_refuter', 'data_subset_refuter']
    """
    names = _names(refuters)
    simulations = whole_number(simulations, "simulations", 2)
    result = _check_estimate(estimate)
    threads = _threads(n_jobs)
    data = getattr(model, "_data", None)
    if not isinstance(data, pd.DataFrame):
        raise InputTypeError(f"expected a dowhy.CausalModel with its data, got {type(model).__name__}.")
    setting = read_setting(data, identified_estimand, estimate)
    battery = _Battery(setting, result, names, simulations)
    interrupted = battery.run(_entropy(random_state), threads, progress)
    level = result.confidence_level
    return RefutationReport(setting.effect, result.confidence_interval, level, battery.rows(), interrupted)


class _Battery:
    def __init__(self, setting: RefitSetting, result: EffectResult, names: Sequence[str], simulations: int) -> None:
        self.setting, self.result, self.names = setting, result, names
        self.tallies = {refuter.name: self._plan(refuter, simulations) for refuter in REFUTERS if refuter.name in names}

    def _plan(self, refuter: Refuter, simulations: int) -> Tally:
        started = time.perf_counter()
        try:
            tally = Tally(refuter.plan(self.setting, simulations))
        except Exception as error:  # whatever keeps one refuter from its start must not keep the others
            tally = Tally(reason=" ".join(str(error).split()) or type(error).__name__)
        tally.seconds = time.perf_counter() - started
        return tally

    def run(self, entropy: int, threads: int, progress: bool) -> tuple[str, ...]:
        """Run the refits; give the refuters that were not finished when it was interrupted."""
        plans = [
            (number, self.tallies[refuter.name].refits)
            for number, refuter in enumerate(REFUTERS)
            if refuter.name in self.tallies
        ]
        known = [(number, refits) for number, refits in plans if refits is not None]
        work = batches(self.setting, known)
        total = sum(refits.count for _, refits in known)
        outcomes = run(self.setting, work, entropy, threads)
        with tqdm(total=total, disable=not progress, colour=_BAR_COLOUR, desc="Refuting Estimates: ") as bar:
            try:
                for outcome in outcomes:
                    self.tallies[REFUTERS[outcome.batch.refuter].name].add(outcome)
                    bar.update(len(outcome.batch.numbers))
            except KeyboardInterrupt:
                outcomes.close()
                return tuple(name for name, tally in self.tallies.items() if tally.missing)
        return ()

    def rows(self) -> tuple[Refutation, ...]:
        """Judge every refuter of which something was finished, in the order asked for."""
        by_name = {refuter.name: refuter for refuter in REFUTERS}
        return tuple(row for name in self.names if (row := self._row(name, by_name.get(name))) is not None)

    def _row(self, name: str, refuter: Refuter | None) -> Refutation | None:
        if refuter is None:
            return judge_overlap(self.result)
        tally = self.tallies[name]
        if tally.refits is not None and tally.missing == tally.refits.count:
            return None
        result, interval = self.result, self.result.confidence_interval
        distinguishable = interval is not None and (interval[0] > 0 or interval[1] < 0)
        return judge(refuter, tally, self.setting.effect, result.outcome_scale, distinguishable, result.standard_error)


def _names(refuters: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(refuters, str):
        refuters = NAMES if refuters == "all" else (refuters,)
    given = list(refuters) if isinstance(refuters, Iterable) else [refuters]
    if not all(isinstance(name, str) for name in given):
        raise InputTypeError(f"refuters must be 'all', a name or a sequence of names, got {came(refuters)}.")
    chosen = tuple(dict.fromkeys(given))
    check_known(chosen, NAMES, "refuter")
    if not chosen:
        raise InputError(f"refuters: expected 'all' or at least one of {', '.join(NAMES)}, got none.")
    return chosen


def _check_estimate(estimate: Any) -> EffectResult:
    estimator = getattr(estimate, "estimator", None)
    if not isinstance(estimator, CinaEstimator):
        got = type(estimate if estimator is None else estimator).__name__
        raise InputTypeError(
            f"expected an estimate made with method_name='backdoor.cina', got one of {got}: estimate with it, or take "
            "model.refute_estimate for this one."
        )
    result: EffectResult = estimate.cina_result
    return result


def _threads(n_jobs: int) -> int:
    threads = whole_number(n_jobs, "n_jobs", -1)
    if threads == 0:
        raise InputError("n_jobs must be a number of threads, or -1 for one per core, got 0.")
    if threads > 0:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _entropy(random_state: int | np.random.Generator | np.random.RandomState | None) -> int:
    """Turn a random state into one number, that a generator for each refit is derived from."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, Integral) and not isinstance(random_state, bool) and random_state >= 0:
        return int(random_state)
    raise InputTypeError(
        f"random_state must be None, a whole number from 0 on, or a generator of numpy's, got {random_state!r}."
    )
