"""
Getting started
===============

Did a job training programme raise earnings? LaLonde's data answer twice: once by an experiment, and once, as is
usual, by comparing the trained men with others who were never offered the programme. This page estimates the effect
from the second kind of data and holds it against the first.
"""

# sphinx_gallery_thumbnail_number = 1
import numpy as np
from dowhy import CausalModel
from dowhy_cina.data import COVARIATES, load_nsw

from dowhy_cina import plots

# %%
# The answer that the experiment gives
# ------------------------------------
# The trained men and the controls were drawn by lot, so the difference of their mean earnings (US dollars in 1978)
# estimates the effect without bias.

experiment = load_nsw("experiment")
earnings = experiment.groupby("training")["re78"]
standard_error = np.sqrt((earnings.var() / earnings.count()).sum())
print(f"{earnings.mean()[1] - earnings.mean()[0]:,.0f} dollars (standard error {standard_error:,.0f})")

# %%
# Observational data
# ------------------
# The same trained men, now beside 2,490 men from a household survey. They are older, better educated and earned far
# more before, so the plain difference is off by thousands of dollars.

table = load_nsw("psid")
means = table.groupby("training")["re78"].mean()
print(f"{means[1] - means[0]:,.0f} dollars")

# %%
# Say what causes what, and let DoWhy find what to adjust for
# -----------------------------------------------------------

model = CausalModel(table, treatment="training", outcome="re78", common_causes=COVARIATES)
estimand = model.identify_effect()
print(estimand.get_backdoor_variables())

# %%
# Estimate
# --------
# One forward pass of the bundled model, on this computer. The target is the trained men (``"att"``): nobody asks
# what the programme would do for men who earn 20,000 dollars.

estimate = model.estimate_effect(
    estimand, method_name="backdoor.dowhy_cina.CinaEstimator", target_units="att", confidence_intervals=True
)
print(estimate)

# %%
# What the estimate rests on
# --------------------------

result = estimate.cina_result
print(result.summary())

# %%
# Were the two arms made comparable?

plots.love_plot(result)

# %%
# How many of the 2,490 men carry the comparison?

plots.weight_plot(result)

# %%
# Are there men in both arms who might as well have been in the other?

plots.overlap_plot(result)

# %%
# Try to refute it
# ----------------
# Shuffle who was trained, and the effect should vanish.

refutation = model.refute_estimate(
    estimand,
    estimate,
    method_name="placebo_treatment_refuter",
    placebo_type="permute",
    num_simulations=10,
    random_state=np.random.RandomState(0),
)
print(refutation)
