"""
Whom to treat
=============

Free care at the doctor's: who uses it? RAND's health insurance experiment gave families plans at random, free or with a
share of the bill to pay. The table ships with statsmodels: years of people, their health at the start, and outpatient
visits. What follows asks how effects are distributed, what a rule that picks people is worth, whether effects can be
ranked, and which groups differ. Each answer may be that the data do not tell.
"""

import numpy as np
from matplotlib import pyplot
from statsmodels.datasets import randhie

import dowhy_cina
from dowhy_cina import plots

HEALTH = ["physlm", "disea", "hlthg", "hlthf", "hlthp"]
table = randhie.load_pandas().data
table["free"] = (table["lncoins"] == 0).astype(int)
# The years of a person follow one another, and nothing but the visits changes between them.
same = (table.drop(columns="mdvis").diff().abs().sum(axis=1) == 0).to_numpy()
table["person"] = np.cumsum(~same)
table = table[table["person"] % 3 == 0]  # every third of them, which is quick
print(f"{len(table)} years of {table['person'].nunique()} people")

result = dowhy_cina.estimate_effect(table, "free", "mdvis", covariates=HEALTH, cluster="person")
print(result.summary())

# %%
# How the effects are distributed
# -------------------------------
# Modelled effects scatter too much where they follow noise, and too little where they are smoothed. Their covariance
# with the doubly robust scores of rows that did not fit them says how much of the scatter is real; they are stretched
# or shrunk to that. If it is within two standard errors of zero, no heterogeneity is detected: there are no figures.

print(result.effect_distribution())
plots.distribution_plot(result)

# %%
# Is the ranking any good?
# ------------------------
# Each row is ranked by what the other four fifths of the people say of it. The Qini curve is the gain over treating as
# many people at random. Its area, with its interval, is one number for the ranking: zero if it tells nothing.

print(result.uplift())
print(result.uplift("disea"))  # the rule of thumb: those with many chronic diseases first
axes = plots.uplift_plot(result)
plots.uplift_plot(result, "disea", ax=axes)

# %%
# The same ranking as a curve of how far the first ones are above the average.

plots.uplift_plot(result, weighting="autoc")

# %%
# What a rule is worth
# --------------------
# The mean outcome if the rule decides, beside all and none. Visits are not money: suppose that free care is worth its
# price only where it brings half a visit more. A rule of one's own is a function of the covariates; a share takes the
# largest modelled effects, and "gainers" all that are above the price, by effects that other people than those that
# judge them have given.

for rule in (lambda people: people["disea"] > 10, 0.25, "gainers"):
    print(result.policy_value(rule, cost=0.5, against="none").round(2), "\n")

# %%
# Which groups differ
# -------------------
# A shallow tree looks for groups in one half of the people; the other half, which has not been looked at, gives the
# effects, with intervals that hold all groups at once. Searching and judging by the same rows would always find some.

print(result.search_groups())

# %%
# None of these answers is that free care brings everybody the same. With five columns of health and as many people, the
# differences are within their noise, and the average is what is known.
#
# Where effects do vary
# ---------------------
# A simulated table of 800 rows, whose effect is 1 where the first column is at its mean and doubles a standard
# deviation further: 84 % gain.

rng = np.random.default_rng(0)
columns = rng.normal(size=(800, 4))
treated = rng.random(800) < 1 / (1 + np.exp(-columns[:, 1]))
outcome = columns[:, 1] + treated * (1 + columns[:, 0]) + rng.normal(size=800)
varying = dowhy_cina.estimate_effect(columns, treated, outcome)
figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
plots.distribution_plot(varying, ax=left)
plots.uplift_plot(varying, ax=right)
print(varying.effect_distribution())
print(varying.uplift())
print(varying.policy_value("gainers", against="all").round(3))
print(varying.search_groups())

# %%
# How far to trust each of these, on simulated tables with effects and without: :doc:`/gains`.
