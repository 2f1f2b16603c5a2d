"""The experiments behind the paper's claims, in one run: a CSV and a figure for each, the claims, the versions.

References
----------
Zhang et al. (2024), Towards causal foundation model: on duality between causal inference and attention, ICML,
arXiv:2310.00809.
"""

from dowhy_cina.learning.evaluation.paper.experiments import run
from dowhy_cina.learning.evaluation.paper.scale import FULL, QUICK, Scale

__all__ = ["FULL", "QUICK", "Scale", "run"]
