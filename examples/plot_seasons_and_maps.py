r"""
Seasons and maps
================

Treatments and outcomes follow the calendar and the map: a clinic is on one side of the river, ozone is high in summer,
rents rise and fall from quarter to quarter. Beside a dozen other covariates a few turns along a date, or along
longitude and latitude together, are more than a kernel as wide as all of them learns, and what it smooths away is
confounding. So after the search for steps (:doc:`plot_where_outcomes_jump`) the estimator looks for waves.

Here 1,500 simulated households get insulation or not, which saves them one unit of heating. Who does is a matter of the
neighbourhood, and so is what they need; and both follow the day of the three years in which they were asked.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.api as sm

import dowhy_cina

rng = np.random.default_rng(14)
rows = 1500
homes = pd.DataFrame(
    {
        "longitude": rng.uniform(13.1, 13.7, rows),
        "latitude": rng.uniform(52.4, 52.6, rows),
        "day": rng.integers(0, 3 * 365, rows),  # dates are told as numbers
        "size": rng.normal(90, 20, rows).round(),
        "built": rng.integers(1900, 2010, rows),
        "people": rng.integers(1, 6, rows),
    }
)
place = np.cos(14 * (homes["longitude"] - 13.1)) * np.sin(30 * (homes["latitude"] - 52.4))
season = np.cos(2 * np.pi * homes["day"] / 365)
index = (1.5 * place + season).to_numpy()
insulated = (rng.random(rows) < 1 / (1 + np.exp(-index))).astype(int)
heating = 1.5 * index + 0.02 * (homes["size"] - 90) - insulated + rng.normal(size=rows)

# %%
# The estimate
# ------------
# The summary has a line for the waves, and ``result.waves`` names the covariates. In most tables there are none.

result = dowhy_cina.estimate_effect(homes, insulated, heating)
print(result.summary())

# %%
# Beside others
# -------------
# A regression on the covariates as they are, and weights of a plain kernel, which is as wide as the median distance.

linear = sm.OLS(heating, sm.add_constant(homes.assign(insulated=insulated))).fit()
exact = dowhy_cina.estimate_effect(homes, insulated, heating, checkpoint="exact")
found = pd.DataFrame(
    {
        "estimate": [result.value, exact.value, linear.params["insulated"]],
        "standard error": [result.standard_error, exact.standard_error, linear.bse["insulated"]],
    },
    index=["cina-small", "exact weights, which have no waves", "linear regression"],
)
print(found.round(3).to_string())
print("the truth is -1")

# %%
# Who is insulated, and what is needed, by place: the same map.

figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained", sharey=True)
for axis, values, name in zip(axes, (insulated, heating), ("share of insulated homes", "mean heating"), strict=True):
    drawn = axis.hexbin(homes["longitude"], homes["latitude"], C=values, gridsize=12, cmap="viridis")
    figure.colorbar(drawn, ax=axis, label=name)
    axis.set_xlabel("longitude")
axes[0].set_ylabel("latitude")

# %%
# Weekdays
# --------
# A count of days hides the weekday. On weekends other patients come to a hospital, and other doctors treat them: here
# every treatment costs one day of a stay, and those who come at a weekend are treated more often and stay two days
# longer. The search tries cycles of 5, 7, 12 and 24 of any covariate that is whole numbers.

patients = pd.DataFrame({"day": rng.integers(0, 365, rows), "age": rng.normal(60, 15, rows).round()})
weekend = patients["day"] % 7 > 4
treated = (rng.random(rows) < np.where(weekend, 0.8, 0.3)).astype(int)
stay = 5 + 2 * weekend + 0.03 * (patients["age"] - 60) + treated + rng.normal(size=rows)

result = dowhy_cina.estimate_effect(patients, treated, stay)
linear = sm.OLS(stay, sm.add_constant(patients.assign(treated=treated))).fit()
print(f"waves {result.waves}: {result.value:.2f}, standard error {result.standard_error:.2f}; the truth is 1")
print(f"linear regression: {linear.params['treated']:.2f}, standard error {linear.bse['treated']:.2f}")

# %%
# How the search goes: :doc:`/method`; what it is worth, and on which maps it fails: :ref:`waves`.
