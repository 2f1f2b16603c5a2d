"""How much of each experiment is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes of the experiments; nothing else of them can be set.

    Attributes
    ----------
    seed : int
        Of tables and of initial weights.
    descent_tables : int
        Tables on which values are trained by gradient descent.
    rows : tuple of int
        Rows of single tables.
    tables : int
        Single tables of each design and number of rows.
    training : tuple of int
        Training tables of each run on Simulation A.
    transfer : int
        Training tables of each run on structural models.
    training_rows : int
        Rows of a table to train on or to test a trained model on.
    test_tables : int
        Tables that a trained model is tested on, of each design.
    realisations : int
        Published tables of each collection at most.
    """

    seed: int = 0
    descent_tables: int = 20
    rows: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    tables: int = 24
    training: tuple[int, ...] = (100, 1000, 10000)
    transfer: int = 2000
    training_rows: int = 256
    test_tables: int = 100
    realisations: int = 10


FULL = Scale()
QUICK = Scale(
    descent_tables=4,
    rows=(128, 512),
    tables=6,
    training=(80, 400),
    transfer=400,
    test_tables=12,
    realisations=1,
)
