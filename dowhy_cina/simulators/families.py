"""Generic families: random functions over random covariates.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dowhy_cina.simulators.assembly import assemble, draw_switches, views
from dowhy_cina.simulators.covariates import correlated_gaussians, mixed_covariates
from dowhy_cina.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.simulators.table import FloatArray, IntArray, SimulatedTable


def _generic(
    rng: np.random.Generator, family: str, covariates: FloatArray, kinds: Sequence[str] | None
) -> SimulatedTable:
    """Draw selection and response from the same mechanisms."""
    for_treatment, for_outcome = views(rng, covariates)
    index = random_function(rng, for_treatment, kinds)
    prognosis = random_function(rng, for_outcome, kinds)
    return assemble(rng, family, covariates, index, prognosis, draw_switches(rng), for_outcome)


def mixed(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Any mechanism over covariates of any type."""
    return _generic(rng, "mixed", mixed_covariates(rng, rows, columns), None)


def trees(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Random tree ensembles for selection and response."""
    return _generic(rng, "trees", mixed_covariates(rng, rows, columns), ("trees",))


def additive(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Additive one-dimensional functions for selection and response."""
    return _generic(rng, "additive", mixed_covariates(rng, rows, columns), ("additive",))


def networks(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Random multilayer perceptrons for selection and response, often of every column."""
    plain = rng.random() < 0.5
    covariates = correlated_gaussians(rng, rows, columns) if plain else mixed_covariates(rng, rows, columns)
    if rng.random() < 0.5:
        return _generic(rng, "networks", covariates, ("network",))
    view = standard_view(rng, covariates)
    index, prognosis = (random_function(rng, view, ("network",)) for _ in range(2))
    return assemble(rng, "networks", covariates, index, prognosis, draw_switches(rng), view)


EDGE_KINDS = 4  # identity, tanh, sine, square


def _along_edges(rng: np.random.Generator, parents: FloatArray) -> FloatArray:
    """Sum of random one-dimensional effects, one per parent."""
    kind = rng.integers(EDGE_KINDS, size=parents.shape[1])
    effect = parents.copy()
    for position, curve in enumerate((np.tanh, np.sin, np.square), start=1):
        chosen = np.flatnonzero(kind == position)
        if chosen.size:
            effect[:, chosen] = curve(parents[:, chosen] * rng.uniform(0.7, 2, chosen.size))
    strength = rng.choice([-1.0, 1.0], parents.shape[1]) * rng.uniform(0.3, 1.5, parents.shape[1])
    return unit(effect @ strength)


def _structural_nodes(rng: np.random.Generator, rows: int, nodes: int) -> FloatArray:
    """Draw the nodes of an Erdos-Renyi graph in causal order, standardised."""
    degree = rng.uniform(0.5, 4)
    values = rng.normal(size=(nodes, rows))  # a node per row: parents are gathered often
    heavy = rng.random(nodes) < 0.2
    values[heavy] = values[heavy] * np.abs(values[heavy])
    own = rng.uniform(0.1, 1.0, nodes)
    discrete = rng.random(nodes) < rng.uniform(0, 0.6)
    cut = rng.normal(0, 0.8, nodes)
    for node in range(nodes):
        parents = _parents(rng, node, degree)
        if parents.size:
            values[node] = unit(_along_edges(rng, values[parents].T) + own[node] * values[node])
        if discrete[node]:
            values[node] = unit((values[node] > cut[node]).astype(np.float64))
    return values.T


def _parents(rng: np.random.Generator, node: int, degree: float) -> IntArray:
    """Draw the parents of a node among those before it."""
    count = min(node, int(rng.poisson(degree)), 12)
    return rng.choice(node, count, replace=False)


def structural(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Random structural causal model; treatment and outcome depend on observed covariates only.

    Nodes that are not observed leave correlation among the covariates and no hidden confounding.
    """
    hidden = int(rng.integers(0, 2 + columns // 5))
    nodes = _structural_nodes(rng, rows, columns + hidden)
    covariates = np.ascontiguousarray(nodes[:, np.sort(rng.permutation(columns + hidden)[:columns])])
    for_treatment, for_outcome = views(rng, covariates)
    index, prognosis = _along_edges(rng, for_treatment), _along_edges(rng, for_outcome)
    switches = replace(draw_switches(rng), targeting=0.0)
    return assemble(rng, "scm", covariates, index, prognosis, switches, for_outcome)
