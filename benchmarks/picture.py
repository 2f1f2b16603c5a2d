"""Draw errors and coverage of ``docs/measured`` beside other methods: the picture of the README.

    python benchmarks/picture.py [--measured docs/measured] [--out docs/measured/comparison.png]

Nothing is measured: ``make bench``, ``make bench-accuracy``, ``make bench-coverage`` and ``make bench-trust`` write the
tables that are read here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

COLLECTIONS = {
    "ihdp": "IHDP",
    "lalonde_psid_realcause": "LaLonde PSID",
    "lalonde_cps_realcause": "LaLonde CPS",
    "acic2016": "ACIC 2016",
    "acic2017": "ACIC 2017",
    "twins": "Twins",
}
#: Marker and colour of each other method, under its name in the tables.
OTHERS = {
    "difference in means": ("|", "0.45"),
    "DoWhy linear regression": ("s", "#8c564b"),
    "DoWhy IPW": ("^", "#2ca02c"),
    "kernel ridge per arm": ("P", "#ff7f0e"),
    "T-learner, boosted trees": ("v", "#9467bd"),
    "X-learner, boosted trees": ("x", "#17becf"),
    "AIPW, boosted trees": ("D", "#d62728"),
}
OURS, COLOUR = "dowhy-cina", "#1f77b4"
#: The same estimator with other bundled checkpoints: trained without outcomes, and not at all.
CHECKPOINTS = ("cina-selfsup", "rule")


def errors(folder: Path) -> pd.DataFrame:
    """Mean absolute error by method and collection, on the same rows; ours is the one of ``make bench-trust``."""
    tables = pd.read_csv(folder / "tables.csv", index_col="method")
    stronger = pd.read_csv(folder / "accuracy-published.csv", index_col=0)
    both = pd.concat([tables, stronger.loc[stronger.index.difference(tables.index)]])
    trust = pd.read_csv(folder / "trust.csv").query("part == 'published'")
    own = {name: trust.loc[trust["label"].str.startswith(f"{name}: MAE"), "value"].item() for name in COLLECTIONS}
    found = both.loc[[*OTHERS, *CHECKPOINTS], list(COLLECTIONS)]
    return pd.concat([found, pd.DataFrame(own, index=[OURS])])


def coverage(folder: Path) -> pd.DataFrame:
    """Share of the 95 % intervals that held the effect, and of how many tables."""
    published = pd.read_csv(folder / "coverage-published.csv", index_col="collection").loc[list(COLLECTIONS)]
    rows = [(COLLECTIONS[name], row["coverage"], row["tables"]) for name, row in published.iterrows()]
    trust = pd.read_csv(folder / "trust.csv").query("label == 'coverage'").set_index("part")
    simulated = pd.read_csv(folder / "coverage.csv").query("by == 'all'").iloc[0]
    rows += [
        ("real covariates", trust.loc["real covariates", "value"], trust.loc["real covariates", "count"]),
        ("other people's designs", trust.loc["foreign", "value"], trust.loc["foreign", "count"]),
        ("own simulators", simulated["coverage"], simulated["tables"]),
    ]
    return pd.DataFrame(rows, columns=["on", "coverage", "tables"])


def draw(folder: Path, path: Path) -> None:
    """Errors at the left, coverage at the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found, held = errors(folder), coverage(folder)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.3), width_ratios=(3, 2), layout="constrained")
    places = -np.arange(len(COLLECTIONS))
    for method, (marker, colour) in OTHERS.items():
        left.plot(found.loc[method], places, marker, color=colour, markersize=6, label=method)
    left.plot(found.loc[OURS], places, "o", color=COLOUR, markersize=10, label=OURS)
    left.set(xscale="log", yticks=places, yticklabels=list(COLLECTIONS.values()))
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1]
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    left.set_xlabel("mean absolute error of the average effect (sd of the outcome)")
    left.set_title("Errors on published tables: further left is better", fontsize="medium")
    left.grid(alpha=0.3)
    places = -np.arange(len(held))
    right.barh(places, held["coverage"], color=COLOUR, alpha=0.75, height=0.62)
    right.axvline(0.95, color="black", linestyle="--", linewidth=1)
    for place, (share, tables) in zip(places, zip(held["coverage"], held["tables"], strict=True), strict=True):
        right.text(0.02, place, f"{share * tables:,.0f} of {tables:,.0f}", va="center", color="white", fontsize="small")
    right.set(yticks=places, yticklabels=held["on"], xlim=(0, 1.02), xticks=[0, 0.25, 0.5, 0.75, 0.95])
    right.set_xlabel("share")
    right.set_title("95 % intervals that held the effect", fontsize="medium")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=100)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    measured = Path(__file__).resolve().parent.parent / "docs" / "measured"
    parser.add_argument("--measured", type=Path, default=measured)
    parser.add_argument("--out", type=Path, default=measured / "comparison.png")
    arguments = parser.parse_args(argv)
    draw(arguments.measured, arguments.out)


if __name__ == "__main__":
    main()
