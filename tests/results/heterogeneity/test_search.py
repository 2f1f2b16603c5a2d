"""A search for groups: the order of rows and columns decides nothing, and numbers of groups are whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.errors import InputError, InputTypeError


def drawn(seed):
    """One modifier as it is, turned round, on another scale and cut in two: many trees divide the rows alike."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=300)
    covariates = pd.DataFrame(
        {"c": -a, "a": a, "e": np.exp(a), "d": (a > 0).astype(float), "z": rng.integers(0, 3, 300)}
    )
    treatment = rng.integers(0, 2, 300)
    return covariates, treatment, treatment * (1 + (a > 0) + 0.3 * a) + rng.normal(size=300)


@pytest.mark.parametrize("seed", range(4))
def test_groups_and_names_do_not_depend_on_the_order(seed):
    covariates, treatment, outcome = drawn(seed)
    found = dowhy_cina.estimate_effect(covariates, treatment, outcome).search_groups()
    assert not any("c " in name or "e " in name for name in found.labels.cat.categories)
    columns = dowhy_cina.estimate_effect(covariates[["z", "d", "e", "a", "c"]], treatment, outcome).search_groups()
    assert list(columns.labels) == list(found.labels)
    np.testing.assert_allclose(columns.groups.table, found.groups.table, atol=1e-6)
    order = np.random.default_rng(seed).permutation(300)
    rows = dowhy_cina.estimate_effect(covariates.iloc[order], treatment[order], outcome[order]).search_groups()
    assert list(rows.labels) == [found.labels[at] for at in order]
    np.testing.assert_allclose(rows.groups.table, found.groups.table, atol=1e-6)


def test_numbers_of_groups_are_whole():
    result = dowhy_cina.estimate_effect(*drawn(0))
    for most in ("4", 2.5, None, True, float("nan")):
        with pytest.raises(InputTypeError, match="number of groups must be a whole number"):
            result.search_groups(most)
    with pytest.raises(InputError, match="number of groups must be a whole number of at least 2"):
        result.search_groups(1)
    # As many as there may be, with forty rows each.
    assert 2 <= len(result.search_groups(10**12).groups.table) <= 7
    assert len(result.search_groups(np.int64(2)).groups.table) == 2
