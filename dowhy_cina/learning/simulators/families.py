"""Generic families: random functions over random covariates.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dowhy_cina.learning.simulators.assembly import Switches, assemble, draw_switches, views
from dowhy_cina.learning.simulators.covariates import mixed_covariates
from dowhy_cina.learning.simulators.latents import correlated_gaussians
from dowhy_cina.learning.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, IntArray, SimulatedTable


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


def linear(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Linear selection and response with hardly any noise, and arms that drift far apart.

    The textbook's simulation: a linear regression is exact there, and whatever smooths has to extrapolate.
    """
    plain = rng.random() < 0.6
    covariates = correlated_gaussians(rng, rows, columns) if plain else mixed_covariates(rng, rows, columns)
    view = standard_view(rng, covariates)
    shared = rng.uniform(0, 1, columns)
    index, prognosis = (unit(view @ (shared + rng.uniform(0, 1) * rng.normal(size=columns))) for _ in range(2))
    switches = draw_switches(rng)
    switches = replace(
        switches,
        overlap=float(rng.uniform(0.3, 6.0)),
        heterogeneity=str(rng.choice(["constant", "weak", "separate"], p=[0.6, 0.2, 0.2])),
        noise_share=float(np.exp(rng.uniform(np.log(1e-6), np.log(0.5)))),
        outcome="gaussian",
    )
    return assemble(rng, "linear", covariates, index, prognosis, switches, view)


MOST_PARENTS = 12
EDGE_KINDS = 4  # identity, tanh, sine, square


def along_edges(rng: np.random.Generator, parents: FloatArray) -> FloatArray:
    """Standardised sum of random one-dimensional effects, one for each column of parents (N, K)."""
    kind = rng.integers(EDGE_KINDS, size=parents.shape[1])
    effect = parents.copy()
    for position, curve in enumerate((np.tanh, np.sin, np.square), start=1):
        chosen = np.flatnonzero(kind == position)
        if chosen.size:
            effect[:, chosen] = curve(parents[:, chosen] * rng.uniform(0.7, 2, chosen.size))
    strength = rng.choice([-1.0, 1.0], parents.shape[1]) * rng.uniform(0.3, 1.5, parents.shape[1])
    return unit(effect @ strength)


def _mechanism(rng: np.random.Generator, parents: FloatArray, general: float) -> FloatArray:
    """Value that the parents give a node: with chance ``general`` any random function, else a sum along the edges."""
    return random_function(rng, parents) if rng.random() < general else along_edges(rng, parents)


def _parents(rng: np.random.Generator, candidates: IntArray, probability: float) -> IntArray:
    """Candidates with an edge to the node; every edge of the graph is there with the same probability."""
    return rng.permutation(candidates[rng.random(candidates.size) < probability])[:MOST_PARENTS]


def _nodes(rng: np.random.Generator, rows: int, nodes: int, probability: float) -> FloatArray:
    """Draw standardised nodes (N, V) of the graph in causal order."""
    values = rng.normal(size=(nodes, rows))  # a node per row: parents are gathered often
    heavy = rng.random(nodes) < 0.2
    values[heavy] = values[heavy] * np.abs(values[heavy])
    own = rng.uniform(0.1, 1.0, nodes)
    discrete = rng.random(nodes) < rng.uniform(0, 0.6)
    levels = rng.choice([2, 2, 2, 3, 5, 8], nodes)
    place = rng.normal(0, 0.8, nodes)
    general = float(rng.choice([0.0, 0.2]))
    for node in range(nodes):
        parents = _parents(rng, np.arange(node), probability)
        if parents.size:
            values[node] = unit(_mechanism(rng, values[parents].T, general) + own[node] * values[node])
        if discrete[node]:
            cell = np.floor((values[node] - place[node]) * (levels[node] - 1) / 2) + 1
            values[node] = unit(np.clip(cell, 0, levels[node] - 1))
    return np.ascontiguousarray(values.T)


def structural(
    rng: np.random.Generator, rows: int, columns: int, *, switches: Switches | None = None
) -> SimulatedTable:
    """Erdos-Renyi model: any node is the treatment, its parents are observed, and so are those of the outcome.

    The other covariates are ancestors, spouses and bystanders of either. What the treatment causes on its way to the
    outcome is not observed: the effect is the total one. Hidden nodes leave correlation among the covariates and, since
    the parents are observed, no hidden confounding. The switches are drawn unless they are given.
    """
    hidden = int(rng.integers(0, 2 + columns // 5))
    total = columns + hidden
    degree = min(rng.uniform(0.5, 4.0) * (2 if rng.random() < 0.2 else 1), MOST_PARENTS)
    probability = min(0.9, degree / max(total / 2, 1))
    nodes = _nodes(rng, rows, total, probability)
    before = int(rng.integers(1, total + 1))  # place of the treatment in the causal order
    causes = _parents(rng, np.arange(before), probability)[:columns]
    causes = causes if causes.size else rng.integers(before, size=1)
    others = rng.permutation(np.setdiff1d(np.arange(total), causes))
    observed = np.concatenate([causes, others[: columns - causes.size]])
    effects = _parents(rng, observed, min(0.9, probability * rng.uniform(1, 3)))
    if not effects.size or (rng.random() < 0.7 and not np.isin(effects, causes).any()):
        effects = np.union1d(effects, rng.choice(causes, 1))  # most tables are confounded
    general = float(rng.choice([0.0, 0.5]))
    index = _mechanism(rng, nodes[:, causes], general)
    prognosis = _mechanism(rng, nodes[:, effects], general)
    switches = switches or replace(draw_switches(rng), targeting=0.0)
    covariates = np.ascontiguousarray(nodes[:, rng.permutation(observed)])
    return assemble(rng, "scm", covariates, index, prognosis, switches, nodes[:, effects])
