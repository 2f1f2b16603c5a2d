"""
From a graph to a refuted estimate
==================================

An estimate is worth as much as the attempts to refute it that it survives. This page takes LaLonde's job training
data from a causal graph to a verdict: identify, estimate, and run all of DoWhy's refuters in one call.
"""

# sphinx_gallery_thumbnail_number = 2
import networkx as nx
from dowhy import CausalModel
from dowhy_cina.data import COVARIATES, OUTCOME, TREATMENT, load_nsw

import dowhy_cina
from dowhy_cina import plots

# %%
# Draw the graph
# --------------
# What a man was before the programme may have decided whether he was in it, and what he earned after it. Schooling
# and age bear on earnings in 1974 and 1975, and these on whether he was trained.

graph = nx.DiGraph()
before = ["age", "education", "black", "hispanic", "married", "nodegree"]
for cause in before:
    graph.add_edges_from((cause, effect) for effect in ("re74", "re75", TREATMENT, OUTCOME))
for cause in ("re74", "re75"):
    graph.add_edges_from((cause, effect) for effect in (TREATMENT, OUTCOME))
graph.add_edge("re74", "re75")
graph.add_edge(TREATMENT, OUTCOME)

# %%
# Let DoWhy find what to adjust for
# ---------------------------------
# The 185 trained men beside 2,490 men of a household survey, who were never offered the programme.

table = load_nsw("psid")
model = CausalModel(table, treatment=TREATMENT, outcome=OUTCOME, graph=graph)
estimand = model.identify_effect(proceed_when_unidentifiable=True)
adjusted = set(estimand.get_backdoor_variables())
print(adjusted == set(COVARIATES), sorted(adjusted))

# %%
# Estimate
# --------
# The effect on those who were trained, in dollars of 1978.

estimate = model.estimate_effect(
    estimand, method_name="backdoor.dowhy_cina.CinaEstimator", target_units="att", confidence_intervals=True
)
print(estimate.cina_result.summary())

# %%
plots.love_plot(estimate.cina_result)

# %%
# Try to refute it
# ----------------
# Seven attempts. Three leave the truth as it is and should find the estimate again: a covariate of noise, four fifths
# of the rows, rows drawn again with noise on the covariates. Two destroy it and should find nothing: a shuffled
# treatment, an outcome of noise. One asks what a common cause that nobody measured could do, and one whether both arms
# have rows that resemble the trained. The refits go through the model in batches.

report = dowhy_cina.refute(model, estimand, estimate, simulations=100, random_state=0, progress=False)
print(report)

# %%
# In one picture: what should be found again stands on the solid line, what should vanish on the dashed one.

report.plot()

# %%
# How to read it
# --------------
# A refuter that passes proves nothing; one that fails is a reason to look; one that is uninformative finds nothing to
# refute, since the estimate might as well be zero. A hidden common cause is measured by the observed ones: for each
# strength up to theirs it flips treatments and shifts the outcome, and what is left of the effect is estimated anew.
# The range says how far such a cause could carry the estimate.
#
# The same men have an answer that needs no adjustment: the experiment's own controls, drawn by lot. The estimate falls
# short of it, and has said how little it knows: a wide interval, and refuters left without an effect to refute.

experiment = load_nsw("experiment")
earnings = experiment.groupby(TREATMENT)[OUTCOME].mean()
print(f"{earnings[1] - earnings[0]:,.0f} dollars in the experiment, {estimate.value:,.0f} estimated without it")

# %%
# The table behind the picture, for a report of your own:

report.to_frame()[["refuter", "new_effect", "p_value", "verdict"]]
