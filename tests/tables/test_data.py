"""The bundled NSW tables."""

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.errors import InputError
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, load_nsw


# Sizes and differences in means as Dehejia and Wahba (1999) publish them.
@pytest.mark.parametrize(
    ("comparison", "controls", "difference"),
    [("experiment", 260, 1_794), ("psid", 2_490, -15_205), ("cps", 15_992, -8_498)],
)
def test_published_figures(comparison, controls, difference):
    table = load_nsw(comparison)
    means = table.groupby(TREATMENT)[OUTCOME].mean()
    assert table[TREATMENT].value_counts().to_dict() == {1: 185, 0: controls}
    assert means[1] - means[0] == pytest.approx(difference, abs=0.5)


def test_columns():
    table = load_nsw("cps")
    assert list(table) == [TREATMENT, *COVARIATES, OUTCOME]
    assert np.isfinite(table.to_numpy()).all()
    for name in ("black", "hispanic", "married", "nodegree", TREATMENT):
        assert set(table[name]) == {0, 1}
    assert table.index.equals(pd.RangeIndex(len(table)))


def test_treated_are_the_same_men_everywhere():
    tables = [load_nsw(name) for name in ("experiment", "psid", "cps")]
    treated = [table[table[TREATMENT] == 1].reset_index(drop=True) for table in tables]
    pd.testing.assert_frame_equal(treated[0], treated[1])
    pd.testing.assert_frame_equal(treated[0], treated[2])


def test_each_call_gives_a_table_of_its_own():
    table = load_nsw()
    table[OUTCOME] = 0
    assert load_nsw()[OUTCOME].sum() > 0


def test_unknown_comparison_is_refused():
    with pytest.raises(InputError, match=r"'experiment', 'psid', 'cps', got 'PSID'"):
        load_nsw("PSID")


def test_file_is_small():
    assert len((files("dowhy_cina.data") / "nsw.npz").read_bytes()) < 200_000
