"""Pictures of an estimate; each takes a result and an optional Axes and returns the Axes.

Matplotlib is imported when a picture is drawn: ``pip install "dowhy-cina[plots]"``.
"""

from dowhy_cina.results.plots.answer import answer_plot, overview
from dowhy_cina.results.plots.balance import love_plot, overlap_plot, weight_plot
from dowhy_cina.results.plots.effects import effect_plot, group_plot
from dowhy_cina.results.plots.files import save_plots
from dowhy_cina.results.plots.gains import distribution_plot, uplift_plot
from dowhy_cina.results.plots.refutation import refutation_plot

__all__ = [
    "answer_plot",
    "distribution_plot",
    "effect_plot",
    "group_plot",
    "love_plot",
    "overlap_plot",
    "overview",
    "refutation_plot",
    "save_plots",
    "uplift_plot",
    "weight_plot",
]
