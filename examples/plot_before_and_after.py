r"""
Before and after
================

A reading at the first visit and one at the second nearly agree, and it is their difference that doctors act on: whoever
has changed much since is treated, and fares worse for other reasons. To a kernel as wide as the readings two patients
with the same reading are alike, however one has changed, and the change is a confounder that it does not see. So the
estimator looks along the differences of covariates that nearly agree before anything else.

Here 900 simulated patients are given a drug that does nothing. Their pressure is taken twice, and the further apart the
two readings are the more often the drug is given, and the worse the score is.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.api as sm

import dowhy_cina

rng = np.random.default_rng(12)
rows = 900
first = rng.normal(140, 18, rows)
change = rng.normal(0, 3, rows)
patients = pd.DataFrame(
    {"first": first, "second": first + change, "age": rng.integers(30, 85, rows), "weight": rng.normal(80, 14, rows)}
)
unstable = np.abs(change) / 3
drug = (rng.random(rows) < 1 / (1 + np.exp(-1.8 * (unstable - 0.8)))).astype(int)
score = 1.5 * unstable + 0.02 * (first - 140) + rng.normal(size=rows)

# %%
# The estimate
# ------------
# The summary has a line for the difference, which is a covariate like any other from there on: steps and waves are
# looked for along it, too. In most tables there is none, and no such line.

result = dowhy_cina.estimate_effect(patients, drug, score)
print(result.summary())
print(result.differences)

# %%
# Beside others
# -------------
# A linear regression has the difference among what it can say, but not its size. Weights that solve the paper's problem
# exactly go by distances in the covariates as they are, and look for no differences. The last line is a regression by
# somebody who knows.

linear = sm.OLS(score, sm.add_constant(patients.assign(drug=drug))).fit()
knowing = sm.OLS(score, sm.add_constant(patients.assign(drug=drug, unstable=unstable))).fit()
exact = dowhy_cina.estimate_effect(patients, drug, score, checkpoint="exact")
found = pd.DataFrame(
    {
        "estimate": [result.value, exact.value, linear.params["drug"], knowing.params["drug"]],
        "standard error": [result.standard_error, exact.standard_error, linear.bse["drug"], knowing.bse["drug"]],
    },
    index=["cina-small", "exact weights, which have no differences", "linear regression", "that of who knows"],
)
print(found.round(3).to_string())
print("the truth is 0")

# %%
# What was found: the score goes by the difference, not by either reading.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
for axis, values, name in zip(axes, (first, change), ("first reading", "second reading less the first"), strict=True):
    axis.plot(values[drug == 0], score[drug == 0], ".", color="tab:blue", markersize=3, label="without the drug")
    axis.plot(values[drug == 1], score[drug == 1], ".", color="tab:orange", markersize=3, label="with the drug")
    axis.set_xlabel(name)
axes[0].set_ylabel("score")
axes[1].legend(fontsize=8)

# %%
# Differences in other proportions are not looked for, such as a body mass index of height and weight: where you know
# the index, add it as a column (:doc:`/limitations`). How the search goes: :doc:`/method`; what it is worth:
# :ref:`differences`.
