"""Random structural causal models: Erdos-Renyi graphs in which any node may be the treatment.

Letters: N rows, D covariates, V nodes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dowhy_cina.learning.simulators.assembly import assemble, draw_switches
from dowhy_cina.learning.simulators.mechanisms import random_function, unit
from dowhy_cina.learning.simulators.table import FloatArray, IntArray, SimulatedTable

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


def structural(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Erdos-Renyi model: any node is the treatment, its parents are observed, and so are those of the outcome.

    The other covariates are ancestors, spouses and bystanders of either. What the treatment causes on its way to the
    outcome is not observed: the effect is the total one. Hidden nodes leave correlation among the covariates and, since
    the parents are observed, no hidden confounding.
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
    switches = replace(draw_switches(rng), targeting=0.0)
    covariates = np.ascontiguousarray(nodes[:, rng.permutation(observed)])
    return assemble(rng, "scm", covariates, index, prognosis, switches, nodes[:, effects])
