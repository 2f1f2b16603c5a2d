"""How the effect varies: conditional effects, averages by group, projections on covariates.

Everything here works on pseudo-outcomes, doubly robust scores of the rows whose mean is the average effect: row i adds
``a_i = (s_i - mean(s)) / N + q_i mean(s)`` to the effect in the target population q. Sums of a over a group, divided
by the group's share of q, are the group's effect; regressions of a on covariates project it.

Letters: N rows, G groups, P terms.
"""

from dowhy_cina.results.heterogeneity.decisions import Decisions
from dowhy_cina.results.heterogeneity.distribution import EffectDistribution, effect_distribution
from dowhy_cina.results.heterogeneity.groups import MOST_LEVELS, GroupEffects, group_effects, group_labels
from dowhy_cina.results.heterogeneity.learned import Halves, HeldOut
from dowhy_cina.results.heterogeneity.methods import VaryingEffect
from dowhy_cina.results.heterogeneity.projection import best_linear_projection, effect_curve
from dowhy_cina.results.heterogeneity.scores import select_modifiers
from dowhy_cina.results.heterogeneity.search import FoundGroups, search_groups
from dowhy_cina.results.heterogeneity.uplift import Uplift, rank_weighted_effect

__all__ = [
    "MOST_LEVELS",
    "Decisions",
    "EffectDistribution",
    "FoundGroups",
    "GroupEffects",
    "Halves",
    "HeldOut",
    "Uplift",
    "VaryingEffect",
    "best_linear_projection",
    "effect_curve",
    "effect_distribution",
    "group_effects",
    "group_labels",
    "rank_weighted_effect",
    "search_groups",
    "select_modifiers",
]
