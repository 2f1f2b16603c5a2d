"""
Who gains most
==============

The average effect hides who gains and who does not. An estimate knows more: effects at given covariates, averages by
group, and a regression of the effect on covariates, all from the one forward pass that gave the average.
"""

from dowhy_cina.data import COVARIATES, load_nsw
from matplotlib import pyplot

import dowhy_cina
from dowhy_cina import plots

table = load_nsw("experiment")
result = dowhy_cina.estimate_effect(table[COVARIATES], table["training"], table["re78"])
print(result)

# %%
# By group
# --------
# Name a covariate, or several; numbers with many values are cut at quantiles. Each group's average is that of its
# doubly robust scores, so it does not lean on the outcome model being right. The test asks whether all groups could
# have the same effect.

groups = result.group_effects("age")
print(groups)

# %%
# Any other column will do as well, aligned by position: ``result.group_effects(table["re75"] > 0)``. Groups should be
# named before looking: among twenty tests one comes out by luck.

plots.group_plot(result, ["nodegree", "age"], bins=2)

# %%
# Along a covariate
# -----------------
# A smooth curve through the scores. The dark band holds the effect at one value, the light band the whole curve:
# where a horizontal line fits into the light band, the data do not show that the effect varies.

figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
plots.effect_plot(result, "age", ax=left)
plots.effect_plot(result, "married", ax=right)

# %%
# As a regression
# ---------------
# The best linear projection: the regression of the effect on covariates, in statsmodels' table. A coefficient is the
# difference in the effect between people who differ by one unit, the others held fixed. The explained variance is that
# of noisy scores and means nothing.

print(result.best_linear_projection(["age", "education", "nodegree"]).summary().tables[1])

# %%
# For one person
# --------------
# The modelled effect at any covariates, with the standard error of the outcome regressions there. It is smoother than
# the truth and leans on the model, which the group averages do not.

result.conditional_effects(table[COVARIATES].head(4)).round(0)

# %%
# DoWhy's ``effect_modifiers`` give the same through ``model.estimate_effect``: grouped, from one analysis
# of the whole table instead of a refit for each group.
