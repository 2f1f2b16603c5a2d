"""Numbers of every size, settings that a caller has chosen, and values of foreign types."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import dowhy_cina
from dowhy_cina import CinaPerDataset
from dowhy_cina.errors import InputError, InputTypeError

N = 60
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(N, 3)), columns=list("abc"))
T = (RNG.random(N) < 0.5).astype(int)
Y = X["a"].to_numpy() + T + RNG.normal(size=N)
FRAME = X.assign(t=T, y=Y)


@pytest.fixture(scope="module")
def plain():
    return dowhy_cina.estimate_effect(X, T, Y)


def by_partitions(frame, **options):
    dask = pytest.importorskip("dask")
    import dask.dataframe as dd

    with dask.config.set(scheduler="synchronous"):
        return dowhy_cina.estimate_effect(dd.from_pandas(frame, npartitions=3), "t", "y", **options)


@pytest.mark.parametrize("factor", [1.0, 1e-162, 1e153, 1e-270, 1e275])
@pytest.mark.parametrize("way", ["direct", "partitions"])
def test_an_outcome_of_any_size(plain, factor, way):
    found = by_partitions(FRAME.assign(y=Y * factor)) if way == "partitions" else None
    found = found or dowhy_cina.estimate_effect(X, T, Y * factor)
    for name in ("value", "standard_error", "worst_case_bias"):
        assert getattr(found, name) / factor == pytest.approx(getattr(plain, name), rel=1e-10)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("factor", [1e200, 1.7e307, 1e-300])
def test_a_covariate_of_any_size_balances_alike_in_partitions(plain, factor):
    found = by_partitions(FRAME.assign(a=FRAME["a"] * factor))
    np.testing.assert_allclose(found.balance, plain.balance, rtol=1e-7, atol=1e-12)
    assert found.value == pytest.approx(plain.value, abs=1e-6 * plain.standard_error)


@pytest.mark.parametrize("size", [1.7e308, 1e300, 1e-300, 5e-324])
def test_outcomes_near_the_ends_of_floats_are_refused(size):
    y = Y.copy()
    y[3] = size
    y = y if size > 1 else np.full(N, size)
    with pytest.raises(InputError, match="between 1e-280 and 1e\\+280"):
        dowhy_cina.estimate_effect(X, T, y)
    with pytest.raises(InputError, match="between 1e-280 and 1e\\+280"):
        by_partitions(FRAME.assign(y=y))


@pytest.mark.parametrize("factor", [1e275, 1e-270])
def test_groups_and_curves_of_large_and_small_outcomes(plain, factor):
    found = dowhy_cina.estimate_effect(X, T, Y * factor)
    numbers = ["effect", "standard_error", "lower", "upper"]
    groups, expected = found.group_effects("b"), plain.group_effects("b")
    np.testing.assert_allclose(groups.table[numbers] / factor, expected.table[numbers], rtol=1e-8)
    assert groups.p_value == pytest.approx(expected.p_value)
    np.testing.assert_allclose(found.effect_curve("b") / factor, plain.effect_curve("b"), rtol=1e-6)
    with pytest.raises(InputError, match="another unit"):
        found.best_linear_projection("b")


def test_the_surest_level_has_finite_limits():
    level = float(np.nextafter(1.0, 0.0))
    found = dowhy_cina.estimate_effect(X, T, Y, confidence_level=level)
    assert np.isfinite(found.confidence_interval).all()
    table = found.group_effects("a", bins=2, simultaneous=True).table
    assert np.isfinite(table.to_numpy()).all()
    assert np.isfinite(found.conditional_effects(X[:2]).to_numpy()).all()


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_sampling_weights_of_any_size_mean_the_same(plain, size):
    found = dowhy_cina.estimate_effect(X, T, Y, sample_weight=np.full(N, size))
    assert found.value == pytest.approx(plain.value, rel=1e-9)


def test_arithmetic_that_raises_changes_nothing(plain):
    with np.errstate(all="raise"):
        found = dowhy_cina.estimate_effect(X, T, Y)
        small = dowhy_cina.estimate_effect(X * 1e-300, T, Y * 1e-200, target_units="att")
        small.group_effects("a")
        small.balance_of("interactions")
        small.conditional_effects(X[:2] * 1e-300)
        by_partitions(FRAME * [1e-300, 1, 1, 1, 1e-200])
        assert np.geterr()["under"] == "raise"
    assert found.value == pytest.approx(plain.value, rel=1e-10)


SETTINGS = """
import numpy as np, pandas as pd, torch, dowhy_cina, dask, dask.dataframe as dd
from dowhy_cina import CinaPerDataset
torch.set_default_{setting}
rng = np.random.default_rng(0)
x, t = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")), (rng.random(60) < 0.5).astype(int)
y = x["a"].to_numpy() + t + rng.normal(size=60)
estimate = dowhy_cina.estimate_effect
print(repr(estimate(x, t, y).value), repr(estimate(x, t, y, checkpoint="exact").value))
print(repr(CinaPerDataset().fit(x, t).effect(y)))
with dask.config.set(scheduler="synchronous"):
    print(repr(estimate(dd.from_pandas(x.assign(t=t, y=y), npartitions=2), "t", "y").value))
"""


@pytest.mark.parametrize("setting", ['device("meta")', "dtype(torch.float16)"])
def test_torch_defaults_change_nothing(plain, setting):
    command = [sys.executable, "-c", SETTINGS.replace("{setting}", setting)]
    numbers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    exact = dowhy_cina.estimate_effect(X, T, Y, checkpoint="exact").value
    expected = [plain.value, exact, CinaPerDataset().fit(X, T).effect(Y), plain.value]
    np.testing.assert_allclose([float(number) for number in numbers], expected, rtol=1e-10)


def test_an_exact_solution_leaves_the_global_random_state():
    before = np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state().tolist()
    dowhy_cina.estimate_effect(X, T, Y, checkpoint="exact")
    CinaPerDataset().fit(X, T)
    assert before == (np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state().tolist())


RAGGED = [[1.0, 2.0], [3.0]] * (N // 2)
SPARSE = scipy.sparse.csr_matrix(X.to_numpy())


@pytest.mark.parametrize("table", [RAGGED, SPARSE, None, object(), {"a": 1}, [[10**400, 1]] * N])
def test_tables_that_are_none(table):
    with pytest.raises((InputError, InputTypeError), match="expected"):
        dowhy_cina.estimate_effect(table, T, Y)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("memory_limit", value, InputTypeError) for value in (5, 4e9, b"4GB", ["4GB"], True)),
        *(("memory_limit", value, InputError) for value in ("9" * 400 + "GB", "", "1e5")),
        *(("checkpoint", value, InputTypeError) for value in (None, 3, b"exact", ["exact"])),
        *(("device", value, InputTypeError) for value in (None, 3)),
        *(("confidence_level", value, InputTypeError) for value in ("0.9", None, [0.9], True, pd.NA, 0.9 + 0j)),
        *(("confidence_level", value, InputError) for value in (0, 1, float("nan"))),
        *(("treatment_value", value, InputError) for value in (pd.NA, pd.NaT, float("nan"))),
        *(("treatment_value", value, InputTypeError) for value in ([1], {}, [[1], [2, 3]])),
        ("control_value", pd.NA, InputError),
        *(("sample_weight", value, InputTypeError) for value in (RAGGED, ["a"] * N, SPARSE)),
        *(("cluster", value, InputTypeError) for value in (RAGGED, [{}] * N)),
        ("cluster", np.ones((N, 2)), InputError),
        ("target_units", RAGGED, InputTypeError),
    ],
)
def test_options_of_foreign_types(name, value, error):
    with pytest.raises(error, match=r"expected|must be"):
        dowhy_cina.estimate_effect(X, T, Y, **{name: value})


@pytest.mark.parametrize("value", [3, [["a"]], "a", [{}]])
def test_covariates_that_are_no_names(value):
    with pytest.raises(InputTypeError, match="list of column names"):
        dowhy_cina.estimate_effect(FRAME, "t", "y", covariates=value)


def test_repeated_headers_are_refused():
    for names in (["a", "a", "c", "t", "y"], ["a", "t", "c", "t", "y"], ["a", "y", "c", "t", "y"]):
        with pytest.raises(InputError, match=r"distinct|one role"):
            dowhy_cina.estimate_effect(FRAME.set_axis(names, axis="columns"), "t", "y", covariates=["a", "c"])


def test_a_column_not_a_time_among_numbers_is_a_modifier_for_dowhy():
    from dowhy import CausalModel

    kinds = {"times": [pd.NaT, 1, 2, 3], "mixed": [1, "1", 1, "1"]}
    columns = {name: pd.Series(values * (N // 4), dtype=object) for name, values in kinds.items()}
    columns["nullable"] = pd.array([None, True, False, True] * (N // 4), dtype="boolean")
    frame = FRAME.assign(**columns)
    for name in columns:
        model = CausalModel(frame, "t", "y", common_causes=["a"], effect_modifiers=[name])
        estimate = model.estimate_effect(model.identify_effect(), method_name="backdoor.cina")
        assert np.isfinite(estimate.conditional_estimates.to_numpy(float)).all()
        assert len(estimate.conditional_estimates) > (name != "nullable")  # DoWhy has one quantile of truth values


@pytest.mark.parametrize("size", [1e-300, 1e290])
def test_modifiers_whose_quantiles_have_no_name_are_refused(size):
    from dowhy import CausalModel

    frame = FRAME.assign(far=size * np.arange(1.0, N + 1))
    model = CausalModel(frame, "t", "y", common_causes=["a"], effect_modifiers=["far"])
    with pytest.raises(InputError, match="effect modifiers of sizes from 1e-280 to 1e\\+280"):
        model.estimate_effect(model.identify_effect(), method_name="backdoor.cina")


@pytest.mark.parametrize("column", [pd.to_timedelta(np.arange(N), unit="h"), np.arange(N) * 1j])
def test_what_is_no_number_is_no_modifier(column):
    from dowhy import CausalModel

    frame = FRAME.assign(far=column)
    model = CausalModel(frame, "t", "y", common_causes=["a"], effect_modifiers=["far"])
    with pytest.raises((InputError, InputTypeError), match="covariate 'far': expected"):
        model.estimate_effect(model.identify_effect(), method_name="backdoor.cina")


def test_a_long_cell_makes_no_long_message():
    labels = np.where(T == 1, "drug", "none").astype(object)
    labels[3] = "y" * 10**6
    with pytest.raises(InputError) as caught:
        dowhy_cina.estimate_effect(X, labels, Y)
    assert len(str(caught.value)) < 3000


def test_too_many_columns_are_refused_at_once():
    wide = np.random.default_rng(1).normal(size=(8, 2001))
    with pytest.raises(InputError, match="at most 2000 columns"):
        dowhy_cina.estimate_effect(wide, T[:8], Y[:8])


@pytest.mark.parametrize("place", [1, 2])
def test_a_whole_number_beyond_floats_in_a_list(place):
    table = [np.arange(8.0), [0, 1] * 4, [float(k) for k in range(8)]]
    table[place] = [10**400, *table[place][1:]]
    with pytest.raises(InputError, match="up to 1e308"):
        dowhy_cina.estimate_effect(*table)
