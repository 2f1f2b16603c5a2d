"""No table on which estimators are compared, nor covariates taken from one, may enter a recipe under any name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.fingerprints import suspicions
from dowhy_cina.learning.simulators import DEFAULT_WEIGHTS, REGISTRY, draw_table
from dowhy_cina.learning.simulators.covariates import REAL_TABLES, real_table
from dowhy_cina.learning.training import Folder
from dowhy_cina.learning.training.recipes import build_collection, bundled, parse_recipe
from dowhy_cina.tables.data import COVARIATES, load_nsw

KNOWN = json.loads(Path(__file__).with_name("benchmark_fingerprints.json").read_text())


def test_every_benchmark_collection_is_known():
    parts = ("ihdp", "acic2016", "acic2017", "twins", "lalonde_cps", "lalonde_psid", "nsw_rct", "nsw_cps", "nhefs")
    assert all(any(name.startswith(part) for name in KNOWN) for part in parts)
    assert all(len(prints["rows"]) >= 300 and len(prints["columns"]) >= 4 for prints in KNOWN.values())


@pytest.mark.parametrize("comparison", ["experiment", "psid", "cps"])
def test_a_benchmark_is_found_under_any_name(comparison):
    """Its own names; renamed, with columns and rows in another order; a part of its rows; a single column of it."""
    rng = np.random.default_rng(0)
    frame = load_nsw(comparison)[COVARIATES]
    values = frame.to_numpy(float)
    assert "column names of nsw_rct" in suspicions(values[:0], COVARIATES, KNOWN)
    shuffled = values[rng.permutation(len(values))][:, rng.permutation(8)]
    names = [f"v{k}" for k in range(8)]
    collection = {"experiment": "rct", "psid": "psid_observational", "cps": "cps_observational"}[comparison]
    assert f"rows of nsw_{collection}" in suspicions(shuffled, names, KNOWN)
    assert f"rows of nsw_{collection}" in suspicions(shuffled[: len(shuffled) // 3], names, KNOWN)
    if comparison == "experiment":
        assert "columns of nsw_rct" in suspicions(shuffled, names, KNOWN)
        one = np.column_stack([values[:, 7], rng.normal(size=len(values))])
        assert suspicions(one, ["a", "b"], KNOWN) == ["columns of nsw_rct"]


@pytest.mark.parametrize("name", bundled())
def test_recipes_name_simulators_or_clean_folders(name):
    recipe = parse_recipe(name)
    collection = build_collection(recipe)
    for part in getattr(collection, "parts", [collection]):
        if not isinstance(part, Folder):
            assert set(part.names) <= set(REGISTRY)
            continue
        for table in part.tables:
            file = part.path / table.name
            frame = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
            numbers = frame.select_dtypes("number")
            assert suspicions(numbers.to_numpy(float), frame.columns, KNOWN) == []


@pytest.mark.parametrize("name", REAL_TABLES)
def test_real_covariates_are_no_benchmark(name):
    assert suspicions(*real_table(name), KNOWN) == []


@pytest.mark.parametrize("family", DEFAULT_WEIGHTS)
def test_simulated_tables_are_no_benchmark(family):
    for seed in range(3):
        table = draw_table(np.random.default_rng(seed), 300, 12, families=[family])
        names = [f"covariate {k}" for k in range(12)]
        assert suspicions(table.covariates, names, KNOWN) == []
