"""
Beside dowhy.gcm
================

``dowhy.gcm`` fits a mechanism to every node of a graph and answers many questions by sampling from them. One of these,
the average effect of a treatment, can be asked of this package too, and the two answers check each other: gcm's rests
on the mechanisms along all paths from the treatment to the outcome, ours on weights and an outcome model given the
adjustment set.
"""

import networkx as nx
import numpy as np
import pandas as pd
from dowhy import CausalModel, gcm
from matplotlib import pyplot

# %%
# One graph for both
# ------------------
# The treatment works through a mediator, with an effect of 1.5 on average; treatment and outcome depend on their common
# cause by a step.

rng = np.random.default_rng(3)
rows = 2000
cause = rng.normal(size=rows)
treatment = (rng.random(rows) < np.where(cause > 0.5, 0.8, 0.2)).astype(int)
mediator = 1.5 * treatment + rng.normal(size=rows)
outcome = mediator + 6 * (cause > 0.5) + rng.normal(size=rows)
table = pd.DataFrame({"cause": cause, "treatment": treatment, "mediator": mediator, "outcome": outcome})
graph = nx.DiGraph([("cause", "treatment"), ("cause", "outcome"), ("treatment", "mediator"), ("mediator", "outcome")])

# %%
# What gcm says
# -------------
# A mechanism for each node: the treatment's is a classifier, the others are regressions with additive noise. First
# all linear, which the outcome is not, then boosted trees.


def effect_by_gcm(regression):
    """Fit a structural model with this regression in its mechanisms, and ask it for the effect."""
    scm = gcm.StructuralCausalModel(graph)
    scm.set_causal_mechanism("cause", gcm.EmpiricalDistribution())
    scm.set_causal_mechanism("treatment", gcm.ClassifierFCM())
    scm.set_causal_mechanism("mediator", gcm.AdditiveNoiseModel(regression()))
    scm.set_causal_mechanism("outcome", gcm.AdditiveNoiseModel(regression()))
    gcm.util.general.set_random_seed(0)
    gcm.config.disable_progress_bars()
    gcm.fit(scm, table.astype({"treatment": str}))
    return gcm.average_causal_effect(
        scm,
        "outcome",
        interventions_alternative={"treatment": lambda _: "1"},
        interventions_reference={"treatment": lambda _: "0"},
        num_samples_to_draw=20_000,
    )


linear = effect_by_gcm(gcm.ml.create_linear_regressor)
boosted = effect_by_gcm(gcm.ml.create_hist_gradient_boost_regressor)
print(f"linear mechanisms      {linear:.2f}")
print(f"boosted mechanisms     {boosted:.2f}")

# %%
# What this package says
# ----------------------
# ``CausalModel`` takes the graph of a structural model as it is. The mediator is left out of the adjustment by itself,
# and the interval comes with the estimate; gcm has one only by fitting everything again on resamples
# (``gcm.confidence_intervals``).

model = CausalModel(table, treatment="treatment", outcome="outcome", graph=gcm.StructuralCausalModel(graph).graph)
estimand = model.identify_effect()
estimate = model.estimate_effect(estimand, method_name="backdoor.dowhy_cina.CinaEstimator", confidence_intervals=True)
low, high = estimate.get_confidence_intervals()
print(f"CinaEstimator          {estimate.value:.2f} ({low:.2f} to {high:.2f})")

figure, axis = pyplot.subplots(figsize=(7, 2.2), layout="constrained")
axis.axvline(1.5, color="0.6", linestyle="--", label="effect of 1.5")
axis.plot([linear, boosted], [2, 1], "o", color="0.4")
axis.errorbar(estimate.value, 0, xerr=[[estimate.value - low], [high - estimate.value]], fmt="o", capsize=4)
axis.set(yticks=[2, 1, 0], yticklabels=["gcm, linear", "gcm, boosted", "cina"], ylim=(-0.6, 2.6), xlabel="effect")
axis.legend()

# %%
# A gcm answer outside of this interval says that some mechanism on the way is wrong, or that the graph is.
#
# Why there is no gcm mechanism here
# ----------------------------------
# A mechanism of gcm must draw a node's values given its parents, or give back the noise that a value stands for. CInA
# estimates a contrast between two treatments averaged over a population: its weights exist for a treatment and a
# target, not for a node, and its outcome models are regressions for that contrast, without a distribution of the noise.
# Counterfactuals, attributions and arrow strengths therefore stay gcm's. What the two share is the average effect, and
# for that the three lines above suffice: a function of ours around them would add a name and nothing else.
