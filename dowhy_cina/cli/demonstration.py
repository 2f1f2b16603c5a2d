"""The demonstration: LaLonde's job training data, where an experiment tells what the right answer is.

The effect of the programme on the men it trained is known from the experiment. Its randomised controls are then
replaced by men from two surveys, and each method has to find the same figure again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from dowhy import CausalModel
from tqdm import tqdm

from dowhy_cina.adapter.refutation import refute
from dowhy_cina.results.plots import save_plots
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, Comparison, load_nsw

CINA = "cina"
NAMES: dict[Comparison, str] = {"psid": "PSID", "cps": "CPS"}

_REFUTERS = ("random_common_cause", "placebo_treatment_refuter", "data_subset_refuter")

# DoWhy clips propensities to 0.05 ... 0.95, which decides the answer where few rows are treated; so both are shown.
_WEIGHTING = "backdoor.propensity_score_weighting"
_CLASSICAL: dict[str, tuple[str, dict[str, Any]]] = {
    "linear regression": ("backdoor.linear_regression", {}),
    "IPW (DoWhy's default)": (_WEIGHTING, {}),
    "IPW, clipped at 0.001": (_WEIGHTING, {"min_ps_score": 0.001, "max_ps_score": 0.999}),
}


@dataclass(frozen=True)
class Benchmark:
    """The experiment's own figure, in US dollars a year."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Outcome:
    """What one comparison group gave, in US dollars a year."""

    estimates: dict[str, float]
    interval: tuple[float, float] | None


def run(output: str | Path, simulations: int = 5) -> dict[Comparison, Outcome]:
    """Run the demonstration: print what is done and found, write the pictures.

    Parameters
    ----------
    output : str or pathlib.Path
        Folder for the pictures; made if it does not exist.
    simulations : int
        Simulations for each refuter.

    Returns
    -------
    dict of str to Outcome
        The estimates for each comparison group.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the pictures cannot be written.
    """
    start = time.perf_counter()
    benchmark = experiment()
    _say("The National Supported Work programme: earnings in 1978, in US dollars", heading="=")
    _say(
        f"The experiment: the trained men earned {benchmark.value:,.0f} more than the randomised controls "
        f"(standard error {benchmark.standard_error:,.0f}).\n"
        "Now men from a survey take the controls' place. Each method has to find the experiment's figure again."
    )
    outcomes = {}
    pictures = []
    for comparison, name in NAMES.items():
        table = load_nsw(comparison)
        trained = int(table[TREATMENT].sum())
        _say(f"\n{trained} trained men against {len(table) - trained:,} men from the {name} survey", heading="-")
        outcomes[comparison], result = _compare(table, simulations)
        pictures += save_plots(result, output, prefix=f"{comparison}-")
    _say("\nEffect on the trained, by method and comparison group", heading="-")
    _say(format_table(benchmark, outcomes))
    _say("\n".join(["", *verdicts(benchmark, outcomes)]))
    _say("\nPictures: " + ", ".join(map(str, pictures)))
    _say(f"Took {time.perf_counter() - start:.0f} s.")
    return outcomes


def experiment() -> Benchmark:
    """Difference in means between the trained and the randomised controls, with its standard error."""
    table = load_nsw("experiment")
    arms = [table.loc[table[TREATMENT] == arm, OUTCOME] for arm in (1, 0)]
    error = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
    return Benchmark(float(arms[0].mean() - arms[1].mean()), float(error))


def causal_graph() -> nx.DiGraph:
    """What was there before the programme causes who joins and what he earns; training causes earnings."""
    edges = [(cause, effect) for cause in COVARIATES for effect in (TREATMENT, OUTCOME)]
    return nx.DiGraph([*edges, (TREATMENT, OUTCOME)])


def _compare(table: pd.DataFrame, simulations: int) -> tuple[Outcome, Any]:
    with _quiet():
        model = CausalModel(table, TREATMENT, OUTCOME, graph=causal_graph())
        estimand = model.identify_effect(proceed_when_unidentifiable=True)
        _say(f"Columns that DoWhy says to adjust for: {', '.join(sorted(estimand.get_backdoor_variables()))}\n")
        estimate = model.estimate_effect(
            estimand,
            method_name="backdoor.cina",
            target_units="att",
            confidence_intervals=True,
            test_significance=True,
        )
        _say(str(estimate))
        _say(estimate.cina_result.summary())
        _say("\nRefuters (DoWhy's, on the estimate above)")
        _say(str(refute(model, estimand, estimate, refuters=_REFUTERS, simulations=simulations, random_state=0)))
        estimates = {
            "difference in means": _difference(table),
            **{name: _classical(table, method, options) for name, (method, options) in _CLASSICAL.items()},
            CINA: float(estimate.value),
        }
    return Outcome(estimates, estimate.cina_result.confidence_interval), estimate.cina_result


def _difference(table: pd.DataFrame) -> float:
    means = table.groupby(TREATMENT)[OUTCOME].mean()
    return float(means[1] - means[0])


def _classical(table: pd.DataFrame, method: str, options: dict[str, Any]) -> float:
    # A model and a frame of its own: DoWhy's weighting adds columns to the frame that it is given.
    model = CausalModel(table.copy(), TREATMENT, OUTCOME, graph=causal_graph())
    estimand = model.identify_effect(proceed_when_unidentifiable=True)
    params = {"init_params": options}
    return float(model.estimate_effect(estimand, method_name=method, target_units="att", method_params=params).value)


def format_table(benchmark: Benchmark, outcomes: dict[Comparison, Outcome]) -> str:
    """Lay out the estimates of every method beside the experiment's figure.

    Parameters
    ----------
    benchmark : Benchmark
        The experiment's figure.
    outcomes : dict of str to Outcome
        The estimates for each comparison group.

    Returns
    -------
    str
        One line for each method, with its error against the experiment for each group.
    """
    head = f"  {'':22s}" + "".join(f"{NAMES[name]:>12s}{'error':>10s}" for name in outcomes)
    lines = [head]
    methods = next(iter(outcomes.values())).estimates
    for method in methods:
        values = [outcome.estimates[method] for outcome in outcomes.values()]
        lines.append(
            f"  {method:22s}" + "".join(f"{value:12,.0f}{value - benchmark.value:+10,.0f}" for value in values)
        )
    lines.append(f"  {'the experiment':22s}" + f"{benchmark.value:12,.0f}{'':10s}" * len(outcomes))
    return "\n".join(lines)


def verdicts(benchmark: Benchmark, outcomes: dict[Comparison, Outcome]) -> list[str]:
    """Say for each comparison group where cina wins and where it loses, from the numbers.

    Parameters
    ----------
    benchmark : Benchmark
        The experiment's figure.
    outcomes : dict of str to Outcome
        The estimates for each comparison group.

    Returns
    -------
    list of str
        One or two sentences for each group, then how large a difference means something.
    """
    lines = []
    for comparison, outcome in outcomes.items():
        errors = {method: abs(value - benchmark.value) for method, value in outcome.estimates.items()}
        ranked = sorted(errors.items(), key=lambda item: item[1])
        better = [f"{method} ({error:,.0f})" for method, error in ranked if error < errors[CINA]]
        if better:
            text = f"cina loses: it is {errors[CINA]:,.0f} from the experiment, closer: {', '.join(better)}."
        else:
            text = f"cina is the closest, {errors[CINA]:,.0f} from the experiment."
        if outcome.interval is not None:
            low, high = outcome.interval
            holds = "holds" if low <= benchmark.value <= high else "MISSES"
            text += f" Its interval {low:,.0f} to {high:,.0f} {holds} the experiment's figure."
        lines.append(f"{NAMES[comparison]}: {text}")
    lines.append(
        f"The experiment's own standard error is {benchmark.standard_error:,.0f}: "
        "smaller differences between errors mean little."
    )
    return lines


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep DoWhy's and its dependencies' deprecation warnings out of the demonstration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _say(text: str, heading: str = "") -> None:
    tqdm.write(text)
    if heading:
        tqdm.write(heading * len(text.strip()))
