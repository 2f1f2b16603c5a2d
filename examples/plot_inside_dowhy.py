"""
Inside DoWhy: graphs, targets, groups and refuters
==================================================

Everything that DoWhy does with an estimator works with this one: only ``method_name`` changes. This page starts from a
networkx graph and ends with DoWhy's own refuters, on simulated data whose effect is known.
"""

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd
from dowhy import CausalModel

# %%
# A graph
# -------
# Does a reminder on the telephone lower blood pressure? Doctors prescribe it by age and severity; a rollout by region
# makes it likelier in places; it works through the pills that are taken; and its effect depends on income.

edges = [("age", "severity")]
edges += [(cause, effect) for cause in ("age", "severity") for effect in ("reminder", "pressure")]
edges += [("rollout", "reminder"), ("reminder", "pills"), ("pills", "pressure"), ("income", "pressure")]
graph = nx.DiGraph(edges)
nx.draw_networkx(graph, nx.shell_layout(graph), node_color="#dbe7f3", node_size=2600, font_size=9)
plt.margins(0.15)
plt.gca().set_axis_off()

# %%
# A table that follows it: each pill taken lowers the pressure by 2, and those with more income take more because of the
# reminder. On average the reminder lowers it by 4.

rng = np.random.default_rng(7)
rows = 1500
table = pd.DataFrame({"age": rng.normal(60, 10, rows), "income": rng.normal(0, 1, rows)})
table["severity"] = 0.05 * (table.age - 60) + rng.normal(0, 1, rows)
table["rollout"] = rng.integers(0, 2, rows)
score = 0.05 * (table.age - 60) + 0.7 * table.severity + table.rollout - 0.5
table["reminder"] = rng.random(rows) < 1 / (1 + np.exp(-score))
table["pills"] = 3 + (2 + 0.5 * table.income) * table.reminder + rng.normal(0, 0.5, rows)
table["pressure"] = 140 + 0.4 * (table.age - 60) + 5 * table.severity - 2 * table.pills + rng.normal(0, 3, rows)
means = table.groupby("reminder").pressure.mean()
print(f"plain difference of the means: {means[True] - means[False]:.1f}")

# %%
# Identify
# --------
# DoWhy reads a networkx graph as it is, a GML or DOT string, or the name of a file with one. It finds that age and
# severity are to be adjusted for; the pills are not, since they carry the effect.

model = CausalModel(table, treatment="reminder", outcome="pressure", graph=graph)
estimand = model.identify_effect()
print("adjust for", estimand.get_backdoor_variables())

from_text = CausalModel(table, treatment="reminder", outcome="pressure", graph="\n".join(nx.generate_gml(graph)))
print("the same from GML:", from_text.identify_effect().get_backdoor_variables())

# %%
# Estimate, as a whole and in groups
# ----------------------------------
# Income modifies the effect, which DoWhy knows from the graph: it asks for the effect in five groups of it. They come
# from the same forward pass.

estimate = model.estimate_effect(estimand, method_name="backdoor.dowhy_cina.CinaEstimator", confidence_intervals=True)
print(estimate)

# %%
# Another target, nothing fitted again
# ------------------------------------
# The estimate above keeps its interval.

treated = model.estimate_effect(
    estimand, method_name="backdoor.dowhy_cina.CinaEstimator", target_units="att", fit_estimator=False
)
print(f"ATT {treated.value:.2f} {treated.get_confidence_intervals()}")
print(f"ATE {estimate.value:.2f} {estimate.get_confidence_intervals()}")

# %%
# Sampling weights and clusters
# -----------------------------
# Both are named columns of the table. Patients of one practice may resemble each other. Here they do not, since
# practices are drawn by lot, and the standard error stays.

table["practice"] = rng.integers(0, 60, rows)
clustered = CausalModel(table, treatment="reminder", outcome="pressure", graph=graph).estimate_effect(
    estimand, method_name="backdoor.dowhy_cina.CinaEstimator", method_params={"init_params": {"cluster": "practice"}}
)
print(f"standard error {estimate.get_standard_error():.3f}, by practice {clustered.get_standard_error():.3f}")

# %%
# DoWhy's refuters, one by one
# ----------------------------
# Each fits the estimator again on altered tables. :func:`dowhy_cina.refute` runs them all in one call and in batches.

for name, options in {
    "random_common_cause": {},
    "placebo_treatment_refuter": {"placebo_type": "permute"},
    "data_subset_refuter": {},
    "bootstrap_refuter": {},
    "dummy_outcome_refuter": {},
}.items():
    np.random.seed(0)  # noqa: NPY002 - DoWhy's simulations draw from it
    found = model.refute_estimate(estimand, estimate, method_name=name, num_simulations=20, **options)
    found = found[0] if isinstance(found, list) else found
    p_value = found.refutation_result["p_value"]
    print(f"{name:26} {found.estimated_effect:6.2f} -> {found.new_effect:6.2f}, p = {p_value:.2f}")

# %%
# What a common cause that nobody measured could do
# -------------------------------------------------

plt.rcParams["savefig.bbox"] = "tight"  # the labels of DoWhy's picture reach beyond it
found = model.refute_estimate(
    estimand,
    estimate,
    method_name="add_unobserved_common_cause",
    confounders_effect_on_treatment="binary_flip",
    confounders_effect_on_outcome="linear",
    effect_strength_on_treatment=np.array([0.02, 0.05, 0.1]),
    effect_strength_on_outcome=np.array([0.5, 1.0, 2.0]),
)

# %%
# Whether the graph agrees with the data
# --------------------------------------
# No estimator is asked for this one: DoWhy tests independences that the graph implies, at five per cent, so that one
# in twenty fails by luck. Here one does, although the table follows the graph: income and age, drawn apart, correlate
# by -0.06.

print(
    model.refute_graph(
        independence_test={
            "test_for_continuous": "partial_correlation",
            "test_for_discrete": "conditional_mutual_information",
        },
        independence_constraints=[("income", "severity", ("age",)), ("income", "age", ("severity",))],
    )
)

# %%
# On several processes or machines
# --------------------------------
# DoWhy runs its simulations with joblib, so ``n_jobs`` and joblib's backends apply: an estimator pickles without the
# model, which each worker loads once. With `Dask <https://distributed.dask.org>`_:
#
# .. code-block:: python
#
#    import joblib
#    from distributed import Client
#
#    with Client(), joblib.parallel_config("dask"):
#        model.refute_estimate(estimand, estimate, method_name="bootstrap_refuter", n_jobs=-1)
#
# Workers pay where refits take long, as with 10,000 rows and more; for tables of 1,000 rows the seconds in which each
# worker loads torch and DoWhy outweigh them. :func:`dowhy_cina.refute` needs no workers for such: its refits share
# forward passes.
#
# Two things are DoWhy's. With ``n_jobs`` above 1 a ``RandomState`` reaches the simulations in the state it had at the
# start, so that they repeat each other: leave ``random_state`` at ``None`` there, and take ``n_jobs=1`` for numbers
# that come out the same again. And the table goes to the workers once for each simulation.
