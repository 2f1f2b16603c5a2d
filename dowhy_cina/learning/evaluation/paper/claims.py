"""The paper's claims, each beside what was measured, in figures and in a verdict that follows from them by a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from dowhy_cina.learning.evaluation.paper.designs import LINEAR
from dowhy_cina.learning.evaluation.paper.many import SELF_SUPERVISED, SUPERVISED
from dowhy_cina.learning.evaluation.paper.methods import DML, EXACT, IPW, SVM, ZERO_SHOT
from dowhy_cina.learning.evaluation.paper.methods import SELF_SUPERVISED as BUNDLED_SELF_SUPERVISED
from dowhy_cina.learning.evaluation.paper.single import DESCENT_ROWS

AGREES, DISAGREES, WITHIN_NOISE = "agrees", "disagrees", "within the noise"


class Claim(NamedTuple):
    """A row of the table of claims."""

    claim: str
    measured: str
    figure: float
    error: float
    verdict: str


def below(figure: float, error: float, bound: float) -> str:
    """Verdict on a figure that ought to be at most a bound, decided where it is two standard errors away."""
    if np.isnan(figure):
        return WITHIN_NOISE
    if figure + 2 * error <= bound:
        return AGREES
    return DISAGREES if figure - 2 * error > bound else WITHIN_NOISE


def claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every claim that the experiments at hand speak to.

    Parameters
    ----------
    tables : mapping
        Results by the name of their experiment.

    Returns
    -------
    DataFrame
        Columns claim, measured, figure, error (standard), verdict.
    """
    rows: list[Claim] = []
    for name, judge in _JUDGES.items():
        if name in tables:
            rows += judge(tables[name])
    if "duality" in tables and "seconds" in tables:
        rows.append(_descent_seconds(tables["duality"], tables["seconds"]))
    return pd.DataFrame(rows, columns=list(Claim._fields))


def _duality(table: pd.DataFrame) -> list[Claim]:
    claim = "Attention trained with the hinge loss solves covariate balancing"
    last = table.iloc[-2]
    figure, error = float(last["distance"]), float(last["distance_se"])
    text = f"share of the weights elsewhere than the exact solution's after {last['steps']} steps; at most .05"
    return [Claim(claim, text, figure, error, below(figure, error, 0.05))]


def _mean_ratio(table: pd.DataFrame) -> tuple[float, float]:
    """Mean of ratios that come from independent tables, and its standard error."""
    return float(table["ratio"].mean()), float(np.sqrt((table["ratio_se"] ** 2).sum()) / len(table))


def _single(table: pd.DataFrame) -> list[Claim]:
    rows = []
    for method in (IPW, DML, SVM):
        figure, error = _mean_ratio(table[table["method"] == method])
        text = f"{method}: error over that of Algorithm 1 on the same tables, both families; above 1"
        verdict = below(-figure, error, -1)
        rows.append(Claim("Its weights are as good as classical methods", text, figure, error, verdict))
    for method in (ZERO_SHOT, BUNDLED_SELF_SUPERVISED):
        for design in dict.fromkeys(table["design"]):
            figure, error = _mean_ratio(table[(table["design"] == design) & (table["method"] == method)])
            text = f"{method}: error over that of Algorithm 1 on the same tables, {design}; at most 1"
            verdict = below(figure, error, 1)
            rows.append(Claim("Zero-shot is as good as solving each table", text, figure, error, verdict))
    return rows


def _training(table: pd.DataFrame) -> list[Claim]:
    rows = []
    for how in (SELF_SUPERVISED, SUPERVISED):
        own = table[table["method"] == how]
        first, last = own.iloc[0], own.iloc[-1]
        figure = float(last["departure"] / first["departure"])
        error = figure * float(np.hypot(*(row["departure_se"] / row["departure"] for row in (first, last))))
        text = (
            f"Algorithm 2, {how}: departure from the exact solution's effect after {last['training_tables']:,} tables "
            f"over that after {first['training_tables']}; below 1"
        )
        rows.append(Claim("It learns from many tables", text, figure, error, below(figure, error, 1)))
        figure, error = float(last["ratio"]), float(last["ratio_se"])
        text = f"Algorithm 2, {how}, {last['training_tables']:,} tables: error over that of Algorithm 1; at most 1"
        claim = "Zero-shot on new tables of the family is as good as solving each"
        rows.append(Claim(claim, text, figure, error, below(figure, error, 1)))
    return rows


def _transfer(table: pd.DataFrame) -> list[Claim]:
    rows = []
    for supervision in (SELF_SUPERVISED, SUPERVISED):
        model = f"{LINEAR.name}, {supervision}"
        foreign = table[(table["method"] == model) & (table["tested on"] != LINEAR.name)]
        figure, error = _mean_ratio(foreign)
        text = f"trained on {model}: error over that of Algorithm 1, mean of {len(foreign)} other families; at most 1"
        rows.append(Claim("It generalises to other distributions", text, figure, error, below(figure, error, 1)))
    return rows


def _published(table: pd.DataFrame) -> list[Claim]:
    best = table[~table["method"].str.startswith("zero-shot")].groupby("collection", sort=False)["error"].min()
    exact = table[table["method"] == EXACT].set_index("collection")["error"]
    rows = []
    for method in [name for name in dict.fromkeys(table["method"]) if name.startswith("zero-shot")]:
        own = table[table["method"] == method].set_index("collection")["error"]
        for others, text in (
            (exact, "that of Algorithm 1, where it takes the rows"),
            (best, "that of the method fitted to each table that is best in hindsight"),
        ):
            logs = np.log((own / others).dropna())
            figure, spread = float(np.exp(logs.mean())), float(logs.std() / np.sqrt(len(logs)))
            text = f"{method}: error over {text}, geometric mean of {len(logs)} collections; at most 1"
            verdict = below(float(logs.mean()), spread, 0)
            rows.append(Claim("It matches per-table methods on real tables", text, figure, figure * spread, verdict))
    return rows


def _seconds(table: pd.DataFrame) -> list[Claim]:
    wide = table.pivot_table(index="rows", columns="method", values="seconds")
    rows = []
    for count in (wide.index.min(), wide.index.max()):
        for other in (EXACT, DML):
            figure = float(wide.loc[count, other] / wide.loc[count, ZERO_SHOT])
            text = f"seconds of {other} over those of zero-shot weights, {count} rows; above 1"
            rows.append(Claim("Zero-shot is faster", text, figure, 0.0, below(-figure, 0.0, -1)))
    return rows


def _descent_seconds(duality: pd.DataFrame, seconds: pd.DataFrame) -> Claim:
    """What the paper does on each table, beside a forward pass over at least as many rows."""
    last = duality.iloc[-2]
    passes = seconds[(seconds["method"] == ZERO_SHOT) & (seconds["rows"] >= DESCENT_ROWS)].sort_values("rows").iloc[0]
    figure = float(last["seconds"] / passes["seconds"])
    text = (
        f"seconds of {last['steps']} gradient steps on {DESCENT_ROWS} rows over those of zero-shot weights, "
        f"{passes['rows']} rows; above 1"
    )
    return Claim("Zero-shot is faster", text, figure, 0.0, below(-figure, 0.0, -1))


_JUDGES = {
    "duality": _duality,
    "single": _single,
    "training": _training,
    "transfer": _transfer,
    "published": _published,
    "seconds": _seconds,
}
