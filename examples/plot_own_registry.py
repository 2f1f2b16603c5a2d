"""
Pretrain on a registry of one's own
===================================

Clinics record the same columns, and patients come to be treated in much the same way everywhere. What is alike can be
learned from tables without outcomes, and used where a clinic alone is too small to show it. Here 24 simulated clinics
stand for yours; the effects in clinics that no training saw say what it brings.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy_cina.simulators.clinics import COLUMNS, draw_clinics
from dowhy_cina.training import OWN, pretrain_folder
from matplotlib import pyplot

import dowhy_cina

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "docs" / "measured").exists())

# %%
# A folder of tables
# ------------------
# Covariates and the treatment, and no outcome. Who is treated depends on thresholds of inflammation and creatinine, on
# frailty at a higher age and on earlier admissions; so does how patients fare. Each clinic adds something of its own.

folder = Path(tempfile.mkdtemp()) / "registry"
folder.mkdir()
for number, clinic in enumerate(draw_clinics(np.random.default_rng(1), 24)):
    table = pd.DataFrame(clinic.covariates, columns=COLUMNS).assign(treated=clinic.treatment.astype(int))
    table.to_csv(folder / f"clinic{number:02d}.csv", index=False)
table.iloc[:4, :7].round(1)

# %%
# Train
# -----
# On the command line this is ``dowhy-cina pretrain registry --treatment treated``, five minutes by default. Half of the
# tables are trained on, a quarter stops the run, and a quarter says before and after, by errors of effects of random
# outcomes. This page trains for some steps only.

settings = dataclasses.replace(OWN, steps=12, validation_every=12, validation_tables=16, workers=0)
report = pretrain_folder(
    folder, treatment="treated", config=settings, output=folder.parent / "registry.safetensors", progress=False
)
print(report)

# %%
# An estimate with it
# -------------------
# The checkpoint is named by its path wherever one is named.

clinic = draw_clinics(np.random.default_rng(2), 1)[0]
for name in ("cina-small", report.output):
    result = dowhy_cina.estimate_effect(clinic.covariates, clinic.treatment, clinic.outcome, checkpoint=name)
    print(f"{Path(name).name:22s} {result.value:6.3f}   (true effect {clinic.effect:.3f})")

# %%
# What five minutes bring
# -----------------------
# One clinic says nothing. ``benchmarks/registry.py`` trains for five minutes of a core and scores what
# it wrote on the true effects in 200 new clinics, in standard deviations of the outcome, with the outcome regressions
# ("kernel") and by the weights alone ("none"). It does the same with tables of that shape in which nothing is alike.

measured = pd.read_csv(ROOT / "docs" / "measured" / "registry.csv")
print(measured.to_string(index=False))

# %%
# The same as a picture.

alike = measured[measured["tables"] == "clinics that select alike"]
shown = alike.set_index("augmentation")[["before", "after"]]
figure, ax = pyplot.subplots(figsize=(6, 3), layout="constrained")
shown.plot.barh(ax=ax, color=["#999999", "#0072B2"])
ax.set(xlabel="mean absolute error of the effect, sd of the outcome", ylabel="")
ax.legend(frameon=False)
pyplot.show()

# %%
# Why it helps here, and where it does not
# ----------------------------------------
# A clinic of 150 to 400 patients does not show the thresholds that decide who is treated; the other clinics do, and
# random outcomes that follow them teach the network which kernels and penalties find them. Where tables share columns
# but not how people come to be treated there is nothing of the kind to learn: the tables that stop the run say so, and
# the file keeps the weights of ``cina-small``. Much is left even here: what a clinic's own rows cannot tell remains as
# bias, with the network or without.
