"""
Arrays in, effect out
=====================

Where there is no graph to reason about, :func:`dowhy_cina.estimate_effect` takes covariates, treatment and outcome
directly.
"""

import pandas as pd
from dowhy_cina.data import COVARIATES, load_nsw
from matplotlib import pyplot

import dowhy_cina
from dowhy_cina import plots

# %%
# Covariates may be a DataFrame with numbers, categories, text, truth values and gaps; nothing has to be encoded or
# scaled.

table = load_nsw("experiment")
covariates = table[COVARIATES].assign(
    education=pd.cut(table["education"], [-1, 8, 11, 20], labels=["low", "middle", "high"])
)
covariates.loc[::40, "re74"] = None
result = dowhy_cina.estimate_effect(covariates, table["training"], table["re78"])
print(result.summary())

# %%
# The parts of the result
# -----------------------
# Effect, interval and p-value are in the unit of the outcome; the balance table has one row for each encoded
# covariate.

low, high = result.confidence_interval
print(f"{result.value:,.0f} dollars a year, {low:,.0f} to {high:,.0f}, p = {result.p_value:.3f}")
print(f"{result.effective_sample_size.treated:.0f} and {result.effective_sample_size.control:.0f} effective rows")
result.balance.round(3)

# %%
# Different populations
# ---------------------
# A boolean mask names rows of the table: here, the men without a school degree.

no_degree = dowhy_cina.estimate_effect(
    covariates, table["training"], table["re78"], target_units=table["nodegree"].to_numpy() == 1
)
for name, answer in {"everyone": result, "no degree": no_degree}.items():
    low, high = answer.confidence_interval
    print(f"{name:10s} {answer.value:8,.0f}  ({low:,.0f} to {high:,.0f})")

# %%
# Pictures
# --------
# Each function takes and returns matplotlib's Axes.

figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
plots.love_plot(result, ax=left)
plots.overlap_plot(result, ax=right)
