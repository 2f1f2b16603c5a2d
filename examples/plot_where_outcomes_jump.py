r"""
Where outcomes jump
===================

Entitlements begin at a birthday, guidelines speak of a pressure above 140, dosage of a weight and a clearance on either
side of a norm. At such thresholds treatment and outcome jump together, and no smooth adjustment follows: half of the
jump stays, as confounding. The estimator looks for thresholds before anything else and tells which ones it found.

Here 1,200 simulated patients are given a drug that lowers a score by one. From 65 on they are insured for it, and are
worse off for other reasons; and it is given more often where weight and clearance do not fit each other.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.api as sm
from sklearn.ensemble import HistGradientBoostingRegressor

import dowhy_cina

rng = np.random.default_rng(65)
rows = 1200
patients = pd.DataFrame(
    {
        "age": rng.integers(40, 91, rows),
        "weight": rng.normal(75, 12, rows).round(),
        "clearance": rng.normal(90, 20, rows).round(),
        "pressure": rng.normal(135, 15, rows).round(),
    }
)
retired = (patients["age"] >= 65).to_numpy()
fitting = np.sign((patients["weight"] - 75) * (patients["clearance"] - 90)).to_numpy()
index = 1.8 * (retired - 0.5) - 0.7 * fitting
drug = (rng.random(rows) < 1 / (1 + np.exp(-index))).astype(int)
score = 2 * retired - 0.8 * fitting + 0.02 * (patients["pressure"] - 135) - drug + rng.normal(size=rows)

# %%
# The estimate
# ------------
# The summary has a line for the steps. In most tables there is none, and no such line.

result = dowhy_cina.estimate_effect(patients, drug, score)
print(result.summary())

# %%
# Each is a row of ``result.steps``, the strongest first, with thresholds in the covariates' own units and the share of
# the rows that lie above, or on the same side of both. They are the best of the places that are looked at,
# 128ths of the rows apart, and not estimates of a threshold: what matters is that a step is adjusted for, and
# balanced, like a covariate.

print(result.steps.to_string())

# %%
# Beside others
# -------------
# A regression on the covariates as they are, and the same model without its search.

linear = sm.OLS(score, sm.add_constant(patients.assign(drug=drug))).fit()
exact = dowhy_cina.estimate_effect(patients, drug, score, checkpoint="exact")
found = pd.DataFrame(
    {
        "estimate": [result.value, exact.value, linear.params["drug"]],
        "standard error": [result.standard_error, exact.standard_error, linear.bse["drug"]],
    },
    index=["cina-small", "exact weights, which have no steps", "linear regression"],
)
print(found.round(3).to_string())
print("the truth is -1")

# %%
# What was found, among what the score is by age: a curve of boosted trees for those without the drug, and the age at
# which the step lies.

without = drug == 0
curve = HistGradientBoostingRegressor(max_iter=40).fit(patients.loc[without, ["age"]], score[without])
ages = pd.DataFrame({"age": np.arange(40, 91)})
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.plot(patients["age"][without], score[without], ".", color="0.75", markersize=4, label="patients without the drug")
axis.plot(ages["age"], curve.predict(ages), color="tab:blue", label="boosted trees")
for step in result.steps[result.steps["covariate"] == "age"].itertuples():
    axis.axvline(step.threshold, color="tab:red", linestyle="--", label=step.Index)
axis.set(xlabel="age", ylabel="score")
axis.legend(loc="upper left", fontsize=8)

# %%
# Three covariates that act together only are not found, nor steps that fewer than twenty rows lie beyond; and a smooth
# function that is too steep for smooth regressions may count as a step, too: :doc:`/limitations`. How the search goes:
# :doc:`/method`; what it is worth: :ref:`steps`.
