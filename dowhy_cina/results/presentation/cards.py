"""Estimates and refutations as pieces of HTML, for notebooks and for the report's page.

They inherit colour and font, so that they are read on light and on dark pages, and load nothing. Everything that comes
from a table or a caller is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dowhy_cina.results.presentation.words import (
    aside_text,
    bias_text,
    differences_text,
    gap_text,
    interval_text,
    labels_text,
    number,
    shown,
    steps_text,
    waves_text,
)

if TYPE_CHECKING:
    from dowhy_cina.results.effect import AverageEffect

#: Changes how options are spelled in a sentence, before it is escaped.
Spelling = Callable[[str], str]

#: A standardised mean difference up to this is customarily called balanced.
BALANCED = 0.1
#: Covariates of the table of balance, worst first.
LISTED = 15

_STYLE = """<style>
.cina{max-width:46em;line-height:1.45;font-variant-numeric:tabular-nums}
.cina .cina-value{font-size:1.7em;font-weight:600;margin-right:.5em}
.cina .cina-badge{display:inline-block;padding:.05em .6em;border-radius:1em;color:#fff;font-weight:600;font-size:.9em;
 white-space:nowrap}
.cina .good,.cina .pass{background:#00795a}
.cina .strained{background:#8a5a00}
.cina .bad,.cina .fail{background:#b3261e}
.cina .neutral{background:#5f6368}
.cina table{border-collapse:collapse;margin:.6em 0;color:inherit;background:transparent}
.cina th,.cina td{text-align:left;vertical-align:top;padding:.15em .7em .15em 0;border:0;
 border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent);white-space:normal}
.cina .cina-any{overflow-wrap:anywhere}
.cina .cina-open>*{border-bottom:0}
.cina th{font-weight:600;white-space:nowrap}
.cina td.cina-number,.cina th.cina-number{text-align:right;white-space:nowrap}
.cina tr{background:transparent!important}
.cina .cina-axis{position:relative;height:1.4em;margin:.4em 0}
.cina .cina-axis>*{position:absolute;top:50%;transform:translateY(-50%)}
.cina .cina-span{height:.5em;border-radius:.25em;background:#0072b2}
.cina .cina-zero{height:1.2em;width:0;border-left:2px dashed color-mix(in srgb,currentColor 60%,transparent)}
.cina .cina-dot{height:.9em;width:.9em;border-radius:50%;background:#0072b2;
 border:2px solid color-mix(in srgb,currentColor 8%,#fff);box-sizing:border-box;margin-left:-.45em}
.cina .cina-bar{display:inline-block;vertical-align:middle;width:9em;height:.6em;border-radius:.3em;overflow:hidden;
 background:color-mix(in srgb,currentColor 18%,transparent);margin-right:.6em}
.cina .cina-bar>span{display:block;height:100%;background:#009e73}
.cina .cina-warning{border-left:4px solid #c77700;padding:.1em .8em;margin:.5em 0}
.cina .cina-scroll{overflow-x:auto}
</style>
"""


def escaped(text: Any) -> str:
    """Text as HTML shows it, quotes too."""
    return html.escape(str(text), quote=True)


def effect_card(result: AverageEffect, spell: Spelling = str) -> str:
    """An estimate as a piece of HTML.

    Parameters
    ----------
    result : AverageEffect
    spell : callable
        Applied to sentences that name options.

    Returns
    -------
    str
        A ``div`` with its style: value, interval, grade of overlap, bars of balance, the rows behind it, warnings.
    """
    grade = result.overlap.grade
    kind = grade if grade in ("good", "strained") else "bad"
    parts = [
        f'{_STYLE}<div class="cina">',
        f'<div><span class="cina-value">{escaped(number(result.value))}</span>{_interval(result)} &nbsp;',
        f'<span class="cina-badge {kind}">overlap: {escaped(grade)}</span></div>',
        _axis(result),
        _rows(_figures(result, spell)),
        *(f'<div class="cina-warning">{escaped(spell(warning))}</div>' for warning in result.warnings),
        _balance_table(result),
        "</div>",
    ]
    return "\n".join(part for part in parts if part)


def refutation_card(report: Any, spell: Spelling = str) -> str:
    """A battery of refuters as a piece of HTML.

    Parameters
    ----------
    report : RefutationReport
        From :func:`dowhy_cina.refute`.
    spell : callable
        As in :func:`effect_card`.

    Returns
    -------
    str
        A ``div`` with its style: the estimate, and a row per refuter with its verdict and what it means.
    """
    head = f"estimated effect {number(report.estimated_effect)}"
    if report.confidence_interval is not None:
        level = f"{100 * report.confidence_level:g} %"
        head += f", {level} interval {interval_text(report.confidence_interval)}"
    lines = ['<tr><th>refuter</th><th class="cina-number">new effect</th><th class="cina-number">p-value</th></tr>']
    for row in report.refutations:
        kind = row.verdict if row.verdict in ("pass", "fail") else "neutral"
        new, chance = ("&ndash;" if value != value else f"{value:{form}}" for value, form in _numbers(row))
        lines.append(
            f'<tr class="cina-open"><td>{escaped(row.label)}</td>'
            f'<td class="cina-number">{new}</td><td class="cina-number">{chance}</td></tr>'
            f'<tr><td colspan="3" class="cina-any"><span class="cina-badge {kind}">{escaped(row.verdict)}</span> '
            f"{escaped(spell(row.meaning))}</td></tr>"
        )
    cut = (
        f"<div>interrupted; not finished: {escaped(', '.join(report.interrupted))}</div>" if report.interrupted else ""
    )
    table = f'<div class="cina-scroll"><table>{"".join(lines)}</table></div>'
    return f'{_STYLE}<div class="cina"><div>{escaped(head)}</div>\n{table}{cut}</div>'


def _numbers(row: Any) -> tuple[tuple[float, str], tuple[float, str]]:
    return (row.new_effect, ".4g"), (row.p_value, ".2f")


def _interval(result: AverageEffect) -> str:
    level = f"{100 * result.confidence_level:g} %"
    return f"{level} interval {escaped(interval_text(result.confidence_interval))}"


def _axis(result: AverageEffect) -> str:
    """The interval as a bar, with a dashed line at no effect."""
    if result.confidence_interval is None:
        return ""
    low, high = result.confidence_interval
    least, most = min(low, 0.0), max(high, 0.0)
    if not most > least:
        return ""

    def at(value: float) -> float:
        return 3 + 94 * (value - least) / (most - least)

    return (
        '<div class="cina-axis" title="interval; dashed: no effect">'
        f'<span class="cina-span" style="left:{at(low):.2f}%;width:{at(high) - at(low):.2f}%"></span>'
        f'<span class="cina-zero" style="left:{at(0.0):.2f}%"></span>'
        f'<span class="cina-dot" style="left:{at(result.value):.2f}%"></span></div>'
    )


def _figures(result: AverageEffect, spell: Spelling) -> list[tuple[str, str]]:
    """Labels and contents, as HTML, of what stands below the interval."""
    error, chance = number(result.standard_error), "none" if result.p_value is None else f"{result.p_value:.3g}"
    figures = [("standard error", f"{error}, p-value {chance}"), ("population", escaped(result.population))]
    for name, arm in result.arms._asdict().items():
        text = f"{arm.rows:,} rows{arm.held}, effective sample size {arm.effective_size:,.1f}"
        figures.append((name, text))
    if aside := aside_text(result):
        figures.append(("set aside", aside))
    if len(result.balance):
        for when, label in (("before", "balance before"), ("after", "balance after")):
            sizes = result.balance[when].abs()
            met = int((sizes <= BALANCED).sum())
            bar = f'<span class="cina-bar"><span style="width:{100 * met / len(sizes):.1f}%"></span></span>'
            text = f"{met:,} of {len(sizes):,} covariates within {BALANCED:g} sd; largest {sizes.max():.2f}"
            figures.append((label, f"{bar}{text} ({escaped(shown(sizes.idxmax()))})"))
    if result.labels:
        figures.append(("labels", escaped(labels_text(result))))
    if result.differences:
        figures.append(("differences", escaped(differences_text(result))))
    if len(result.steps):
        figures.append(("steps", escaped(steps_text(result))))
    if result.waves:
        figures.append(("waves", escaped(waves_text(result))))
    hidden = result.sensitivity()
    if hidden is not None:
        figures.append(("to overturn it", escaped(hidden.in_short())))
    figures += [("weights", escaped(gap_text(result))), ("worst-case bias", escaped(spell(bias_text(result))))]
    return figures


def _rows(figures: list[tuple[str, str]]) -> str:
    lines = "".join(f'<tr><th>{label}</th><td class="cina-any">{content}</td></tr>' for label, content in figures)
    return f"<table>{lines}</table>"


def _balance_table(result: AverageEffect) -> str:
    """The worst covariates, folded away."""
    balance = result.balance
    if not len(balance):
        return "<div>No covariates that vary: this is the difference in means.</div>"
    worst = np.argsort(-balance.abs().max(axis=1).to_numpy(), kind="stable")[:LISTED]
    lines = "".join(
        f'<tr><td class="cina-any">{escaped(shown(name))}</td><td class="cina-number">{before:.3f}</td>'
        f'<td class="cina-number">{after:.3f}</td></tr>'
        for name, before, after in balance.iloc[worst].itertuples()
    )
    total = len(balance)
    title = "Balance" if total <= LISTED else f"Balance of the worst {LISTED} of {total:,} covariates"
    return (
        f"<details><summary>{title}, standardised mean differences</summary><table><tr><th>covariate</th>"
        f'<th class="cina-number">before</th><th class="cina-number">after</th></tr>{lines}</table></details>'
    )
