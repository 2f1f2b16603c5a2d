"""
How cina-small was trained
==========================

The bundled model has seen simulated tables only. This page reads the log of its training and the validation that
followed; both stand in ``docs/measured`` and are made by ``dowhy-cina pretrain`` and ``benchmarks/validation.py``.
"""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot

from dowhy_cina.model import checkpoint

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "docs" / "measured").exists())
MEASURED = ROOT / "docs" / "measured"

# %%
# What the checkpoint says of itself
# ----------------------------------
# Each file carries its recipe and its totals; ``dowhy-cina info`` prints all of it.

header = checkpoint.read_header("cina-small")
print(f"{header['tables']:,} tables in {header['steps']:,} steps and {header['seconds'] / 60:.0f} core-minutes")
print("trained on:", ", ".join(header["families"]))
print("kept for validation:", ", ".join(header["recipe"]["validation_families"]))

# %%
# The validation curve
# --------------------
# Errors are in attainable standard errors: those of an oracle that knows the propensity and both outcome functions. The
# curve is that of the second part of the training, through solved weights and on more families; the dashed lines are
# where it began, the network of the first part.

log = pd.read_csv(MEASURED / "training.csv")
start = log.iloc[0]
figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
panels = (("inside", "families of the training"), ("outside", "families kept from it"))
for ax, (part, title) in zip(axes, panels, strict=True):
    for name, colour, text in (
        ("augmented", "#0072B2", "augmented estimate"),
        ("weights_only", "#D55E00", "weights alone, to the target"),
        ("paper", "#009E73", "weights alone, arm against arm"),
    ):
        column = f"{part}_{name}_scaled"
        ax.plot(log["tables"], log[column], color=colour, label=text)
        ax.axhline(start[column], color=colour, linestyle="--", linewidth=0.8)
    ax.set(xlabel="tables seen", title=title)
    ax.grid(axis="y", alpha=0.3)
axes[0].set_ylabel("mean error, attainable standard errors")
axes[0].legend(frameon=False, fontsize=8)
pyplot.show()

# %%
# Beside the untrained start and the exact solver
# -----------------------------------------------
# All parts of the training together, on 192 tables of the families that it has seen and 192 of those kept from it:
# other draws than those that chose the checkpoint. Mean absolute errors in standard deviations of the outcome. The
# exact solver has weights alone, arm against arm (column ``paper``), from a Gaussian kernel of bandwidth sqrt(D).

pd.read_csv(MEASURED / "validation.csv").fillna("").set_index(["families", "model"])
