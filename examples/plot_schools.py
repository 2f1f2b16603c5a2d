r"""
Schools with rules of their own
===============================

Pupils of eighty schools may be given tutoring. Some schools give it to many and some to few, some to those who are
behind and some to those who are ahead, and schools differ in what their pupils reach without it. So the school is a
confounder of eighty levels, with a rule for each. A linear regression with an indicator for each school (*fixed
effects*) takes the levels out, but not the rules; nor do boosted trees, to which a school is one of eighty columns.

Here tutoring does nothing.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

import dowhy_cina
from dowhy_cina.learning.evaluation.classical import aipw

rng = np.random.default_rng(3)
rows, schools = 2400, 80
school, before = rng.integers(0, schools, rows), rng.normal(size=rows)
level, rule = rng.normal(size=(2, schools))
pupils = pd.DataFrame(
    {"school": [f"s{code:02d}" for code in school], "before": before, "age": rng.uniform(9, 12, rows)}
)
drive = level[school] + rule[school] * before
tutored = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
grade = drive + before + rng.normal(size=rows)

# %%
# The estimate
# ------------
# The summary has a line for the label: how often each school gives tutoring is a column that is adjusted for and
# balanced, and so is how much more often it does so along the grade before.

result = dowhy_cina.estimate_effect(pupils, tutored, grade)
print(result.summary())
print(result.labels)

# %%
# Beside others
# -------------
# The last line is a linear regression with a slope in each school, by somebody who knows of the rules.

frame = pupils.assign(tutored=tutored, grade=grade)
fits = [
    smf.ols(f"grade ~ tutored + {terms}", frame).fit(cov_type="HC1")
    for terms in ("before + age + C(school)", "age + before * C(school)")
]
boosted = aipw(pd.get_dummies(pupils).to_numpy(float), tutored.astype(float), grade)
found = pd.DataFrame(
    {
        "estimate": [result.value, fits[0].params["tutored"], boosted[0], fits[1].params["tutored"]],
        "standard error": [result.standard_error, fits[0].bse["tutored"], boosted[1], fits[1].bse["tutored"]],
    },
    index=["cina-small", "regression, levels", "AIPW with boosted trees", "regression, levels and slopes"],
)
print(found.round(3).to_string())
print("the truth is 0")

# %%
# What was found: how much more often pupils who are ahead are tutored differs from school to school.

slopes = pd.Series({code: np.polyfit(before[school == code], tutored[school == code], 1)[0] for code in range(schools)})
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
axes[0].plot(pd.Series(tutored).groupby(school).mean(), pd.Series(grade).groupby(school).mean(), ".", color="tab:blue")
axes[0].set_xlabel("share tutored")
axes[0].set_ylabel("mean grade of the school")
axes[1].plot(rule, slopes, ".", color="tab:blue")
axes[1].set_xlabel("rule of the school")
axes[1].set_ylabel("slope of the share along the grade before")

# %%
# The same with ``cluster=school``, where pupils of a school have more in common than their covariates say. How it
# works: :doc:`/method`; what it is worth: :ref:`labels`.

clustered = dowhy_cina.estimate_effect(pupils, tutored, grade, cluster=pupils["school"])
print(f"{clustered.value:.3f} (standard error {clustered.standard_error:.3f})")
