"""Pretraining of zero-shot models: objectives, simulated batches, the loop and its recipes."""

from dowhy_cina.training.recipes import main
from dowhy_cina.training.trainer import pretrain

__all__ = ["main", "pretrain"]
