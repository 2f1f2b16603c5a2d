"""The report: one page of HTML that holds everything, and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dowhy_cina.results.presentation.cards import Spelling, effect_card, escaped, refutation_card
from dowhy_cina.results.presentation.words import summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dowhy_cina.results.effect import EffectResult

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root{{color-scheme:light dark}}
body{{margin:0 auto;max-width:50em;padding:1.2em;font:16px/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}}
h1,.about{{overflow-wrap:anywhere}}
h1{{font-size:1.6em;line-height:1.2}}
h2{{font-size:1.2em;margin-top:2em}}
img{{max-width:100%;height:auto;background:#fff;border-radius:6px}}
pre{{overflow-x:auto;padding:.8em;border-radius:6px;background:color-mix(in srgb,currentColor 8%,transparent);
 font-size:13px}}
.about{{opacity:.8}}
</style>
</head>
<body>
"""

_READ = {
    "answer": "The dot and the line are the effect: by how much the outcome would be higher, on average over the "
    "population named, if everybody were treated rather than nobody. The interval says how far chance alone may have "
    "moved it; one that holds zero does not tell the effect from none. It does not say what an unmeasured common "
    "cause of treatment and outcome would change: see below.",
    "overlap": "Each row's chance of treatment given its covariates, the treated upward and the controls downward. "
    "Where one arm has bars and the other none, there is nothing to compare with and the effect is extrapolated. "
    "Good means that both arms can speak for the population, strained that few rows carry the answer.",
    "love": "How far apart the arms' means are in each covariate, before and after weighting, in standard deviations. "
    "Dots right of the dashed line are customarily called unbalanced; the outcome regression takes up part of what is "
    "left, of measured covariates only.",
    "weights": "How many rows carry each arm's weight, heaviest first. A curve that rises at once means that a few "
    "rows decide; the dot is the number of equally weighted rows that would be as precise.",
    "refuters": "Each refuter changes the data so that it is known what should come out, estimates again many "
    "times, and compares. With the treatment shuffled or the outcome made of noise, the effect should vanish; with a "
    "column of noise, a subset or a resample of the rows it should stay. A fail is a reason to doubt the estimate. "
    "A pass proves nothing: no refuter finds a common cause that was not measured.",
    "sensitivity": "What a common cause of treatment and outcome that is not among the covariates would need to "
    "explain the estimate away. Compare it with the strongest covariate that you have measured.",
}


def report_page(
    result: EffectResult,
    refutation: Any = None,
    *,
    title: str,
    about: Sequence[str] = (),
    spell: Spelling = str,
) -> str:
    """Lay an estimate out as one page: answer, interval, overlap, balance, weights, refuters, and how to read them.

    Parameters
    ----------
    result : EffectResult
    refutation : RefutationReport, optional
        What refuters found about it.
    title : str
        Of the page, such as "Effect of t on y".
    about : sequence of str
        Lines below the title: where the table came from, what was adjusted for.
    spell : callable
        Applied to sentences that name options, which a command line spells in its own way.

    Returns
    -------
    str
        HTML with its pictures inside; no script, and no request to anywhere.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from dowhy_cina.results import plots
    from dowhy_cina.results.plots.files import love_height, png, refutation_height

    parts = [_HEAD.format(title=escaped(title)), f"<h1>{escaped(title)}</h1>"]
    parts += [f'<div class="about">{escaped(line)}</div>' for line in about]
    drawn: list[tuple[str, str, Callable[[Axes], object], float]] = [
        ("Interval", "answer", lambda ax: plots.answer_plot(result, ax), 3.4),
        ("Overlap", "overlap", lambda ax: plots.overlap_plot(result, ax), 4.4),
        ("Balance", "love", lambda ax: plots.love_plot(result, ax), love_height(result)),
        ("Weights", "weights", lambda ax: plots.weight_plot(result, ax), 4.4),
    ]
    parts += ["<h2>Answer</h2>", effect_card(result, spell)]
    for heading, name, draw, height in drawn:
        parts += _section(heading, _READ[name], _image(png(draw, height), heading))
    hidden = result.sensitivity()
    if hidden is not None:
        lines = "".join(f"<p>{escaped(line)}.</p>" for line in str(hidden).splitlines())
        parts += _section("Unmeasured common causes", _READ["sensitivity"], lines)
    if refutation is not None:
        picture = _image(png(refutation.plot, refutation_height(refutation)), "Refuters")
        parts += _section("Refuters", _READ["refuters"], picture + refutation_card(refutation, spell))
    parts += ["<h2>In full</h2>", f"<pre>{escaped(spell(summary(result)))}</pre>", "</body>\n</html>\n"]
    return "\n".join(parts)


def _section(heading: str, reading: str, content: str) -> list[str]:
    return [f"<h2>{escaped(heading)}</h2>", f"<p>{escaped(reading)}</p>", content]


def _image(content: bytes, name: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escaped(name)}">'
