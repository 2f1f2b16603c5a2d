"""Pretraining of zero-shot models: collections of tables, objectives, the loop and its recipes."""

from dowhy_cina.learning.training.collections import Collection, Mixture, Simulators
from dowhy_cina.learning.training.folders import Folder
from dowhy_cina.learning.training.own import OWN, OwnReport, pretrain_folder
from dowhy_cina.learning.training.processes import world
from dowhy_cina.learning.training.recipes import main
from dowhy_cina.learning.training.trainer import pretrain

__all__ = [
    "OWN",
    "Collection",
    "Folder",
    "Mixture",
    "OwnReport",
    "Simulators",
    "main",
    "pretrain",
    "pretrain_folder",
    "world",
]
