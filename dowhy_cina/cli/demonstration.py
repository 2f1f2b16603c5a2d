"""The demonstration: LaLonde's job training data, where an experiment tells what the right answer is.

The effect of the programme on the men it trained is known from the experiment. Its randomised controls are then
replaced by men from two surveys, and each method has to find the same figure again.
"""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd
from dowhy import CausalModel
from tqdm import tqdm

from dowhy_cina.adapter.refutation import RefutationReport, refute
from dowhy_cina.cli.arguments import quiet_dowhy
from dowhy_cina.cli.outputs import check_outputs, picture_files, replace_files
from dowhy_cina.results.effect import EffectResult
from dowhy_cina.results.plots.files import png
from dowhy_cina.results.plots.style import AFTER, BEFORE, CONTROL, TREATED, finish
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, Comparison, load_nsw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
#: Steps of a comparison in the progress bar: the estimate, its refuters, and each classical method.
_STEPS = 2 + len(_CLASSICAL)
_MARKS: dict[Comparison, tuple[str, str]] = {"psid": (TREATED, "o"), "cps": (CONTROL, "s")}


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
    CheckpointError
        If the pictures cannot be written.
    """
    start = time.perf_counter()
    check_outputs([], Path(output), pictures=True)
    benchmark = experiment()
    _say("The National Supported Work programme: earnings in 1978, in US dollars", heading="=")
    _say(
        f"The experiment: the trained men earned {benchmark.value:,.0f} more than the randomised controls "
        f"(standard error {benchmark.standard_error:,.0f}).\n"
        "Now men from a survey take the controls' place. Each method has to find the experiment's figure again."
    )
    outcomes = {}
    files: dict[Path, bytes] = {}
    with (
        quiet_dowhy(),
        tqdm(total=len(NAMES) * _STEPS, bar_format="{desc:34s}{bar}{n_fmt}/{total_fmt}", leave=False) as bar,
    ):
        for comparison, name in NAMES.items():
            table = load_nsw(comparison)
            trained = int(table[TREATMENT].sum())
            title = f"{trained} trained men against {len(table) - trained:,} men from the {name} survey"
            _say(f"\n{title}", heading="-")
            outcomes[comparison], result = _compare(table, simulations, _Steps(bar, name))
            files |= picture_files(result, Path(output), f"{comparison}-", title)
    files[Path(output) / "comparison.png"] = png(
        lambda ax: comparison_plot(benchmark, outcomes, ax), 3.6, "National Supported Work: earnings in 1978"
    )
    replace_files(files)
    _say("\nEffect on the trained, by method and comparison group", heading="-")
    _say(format_table(benchmark, outcomes))
    _say("\n".join(["", *verdicts(benchmark, outcomes)]))
    _say(f"\nPictures in {output}: {', '.join(path.name for path in files)}")
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


class _Steps:
    """A progress bar that says what comes next."""

    def __init__(self, bar: Any, group: str) -> None:
        self.bar, self.group, self.begun = bar, group, False

    def __call__(self, what: str) -> None:
        if self.begun:
            self.bar.update()
        self.begun = True
        self.bar.set_description_str(f"{self.group}: {what}")

    def finish(self) -> None:
        self.bar.update()


def _compare(table: pd.DataFrame, simulations: int, step: _Steps) -> tuple[Outcome, EffectResult]:
    step("estimate")
    model = CausalModel(table, TREATMENT, OUTCOME, graph=causal_graph())
    estimand = model.identify_effect(proceed_when_unidentifiable=True)
    estimate = model.estimate_effect(
        estimand,
        method_name="backdoor.dowhy_cina.CinaEstimator",
        target_units="att",
        confidence_intervals=True,
        test_significance=True,
    )
    result: EffectResult = estimate.cina_result
    step("refuters")
    report = refute(
        model, estimand, estimate, refuters=_REFUTERS, simulations=simulations, random_state=0, progress=False
    )
    _say(describe(sorted(estimand.get_backdoor_variables()), result, report))
    estimates = {"difference in means": _difference(table)}
    for name, (method, options) in _CLASSICAL.items():
        step(name)
        estimates[name] = _classical(table, method, options)
    step.finish()
    return Outcome({**estimates, CINA: float(estimate.value)}, result.confidence_interval), result


def describe(adjusted: list[str], result: EffectResult, report: RefutationReport) -> str:
    """What stands behind an estimate: the columns, the balance, the overlap and the refuters.

    Parameters
    ----------
    adjusted : list of str
        Columns that DoWhy says to adjust for.
    result : EffectResult
    report : RefutationReport

    Returns
    -------
    str
        Lines of at most 100 letters.
    """
    sizes, rows = result.balance.abs().max(), result.effective_sample_size
    worth = f"the control rows are worth {rows.control:,.0f} equally weighted ones"
    overlap = "; ".join(result.overlap.reasons) or worth
    lines = [
        ("DoWhy adjusts for", ", ".join(adjusted)),
        ("balance", f"largest difference of means {sizes['before']:.2f} sd, after weighting {sizes['after']:.2f} sd"),
        ("overlap", f"{result.overlap.grade}: {overlap}"),
    ]
    lines += [(row.label, f"{row.verdict}: {row.meaning}") for row in report.refutations]
    return "\n".join(
        textwrap.fill(text, 100, initial_indent=f"{label:<22s}", subsequent_indent=" " * 22) for label, text in lines
    )


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
    """Lay out the estimates of every method with their errors against the experiment.

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
        better = [method for method in sorted(errors, key=lambda name: errors[name]) if errors[method] < errors[CINA]]
        text = f"cina loses to {' and '.join(better)}." if better else "cina is the closest."
        if outcome.interval is not None:
            low, high = outcome.interval
            holds = "holds" if low <= benchmark.value <= high else "MISSES"
            text += f" Its 95 % interval, {low:,.0f} to {high:,.0f}, {holds} the experiment's figure."
        lines.append(f"{NAMES[comparison]}: {text}")
    lines.append("Differences between errors that are smaller than the experiment's own standard error mean little.")
    return lines


def comparison_plot(benchmark: Benchmark, outcomes: dict[Comparison, Outcome], ax: Axes) -> Axes:
    """Draw every method's estimate for each comparison group, beside the experiment's.

    Parameters
    ----------
    benchmark : Benchmark
        The experiment's figure: a line, and a band of two standard errors to each side.
    outcomes : dict of str to Outcome
        The estimates for each comparison group; the interval of cina is a bar.
    ax : matplotlib.axes.Axes

    Returns
    -------
    matplotlib.axes.Axes
    """
    methods = list(next(iter(outcomes.values())).estimates)
    band = 2 * benchmark.standard_error
    ax.axvspan(benchmark.value - band, benchmark.value + band, color=AFTER, alpha=0.15, linewidth=0)
    ax.axvline(benchmark.value, color=AFTER, linewidth=1.8, label="experiment, two standard errors")
    ax.axvline(0, color=BEFORE, linewidth=1, linestyle="--")
    for shift, (comparison, outcome) in zip((0.14, -0.14), outcomes.items(), strict=False):
        colour, mark = _MARKS[comparison]
        places = np.arange(len(methods))[::-1] + shift
        if outcome.interval is not None:
            ax.hlines(places[methods.index(CINA)], *outcome.interval, color=colour, linewidth=2)
        ax.plot(list(outcome.estimates.values()), places, mark, color=colour, label=f"{NAMES[comparison]} survey")
    ax.set_yticks(np.arange(len(methods))[::-1], methods)
    ax.locator_params(axis="x", nbins=6)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("effect on the trained, US dollars a year (bar: 95 % interval)")
    finish(ax, "Each method, without the experiment's controls")
    ax.legend(loc="lower left", fontsize="small", edgecolor="0.9")
    return ax


def _say(text: str, heading: str = "") -> None:
    tqdm.write(text)
    if heading:
        tqdm.write(heading * len(text.strip()))
