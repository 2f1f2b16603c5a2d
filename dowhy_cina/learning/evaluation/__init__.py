"""Checkpoints beside exact and classical methods, on simulators and on a user's own tables."""

from dowhy_cina.learning.evaluation.classical import METHODS
from dowhy_cina.learning.evaluation.conditional import evaluate_conditional
from dowhy_cina.learning.evaluation.measure import Problem, evaluate, folder_problems, simulated_problems

__all__ = ["METHODS", "Problem", "evaluate", "evaluate_conditional", "folder_problems", "simulated_problems"]
