"""Algorithm 1 for one table: its parts fit together, it is the exact estimate, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

import dowhy_cina
from dowhy_cina import CinaPerDataset
from dowhy_cina.errors import CinaError, InputError
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, load_nsw


def draw(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return x, t, x.sum(1) + 2 * t + rng.normal(size=rows)


@pytest.fixture(scope="module")
def table():
    return draw()


@pytest.fixture(scope="module")
def fitted(table):
    return CinaPerDataset().fit(*table[:2])


@pytest.mark.parametrize("make", [draw, lambda: draw(1300, 1)])
def test_effect_is_the_exact_estimate_without_augmentation(make):
    x, t, y = make()
    expected = dowhy_cina.estimate_effect(x, t, y, checkpoint="exact", augmentation="none")
    ours = CinaPerDataset().fit(x, t)
    assert ours.effect(y) == pytest.approx(expected.value, rel=1e-9)
    assert ours.weights_ == pytest.approx(expected.weights, abs=1e-9)
    assert ours.duality_gap_ == pytest.approx(expected.duality_gap, abs=1e-9)


def test_the_bundled_data_with_rows_that_occur_many_times():
    data = load_nsw("experiment")
    covariates, t, y = data[COVARIATES], data[TREATMENT], data[OUTCOME]
    ours = CinaPerDataset().fit(covariates, t)
    assert ours.duality_gap_ <= 1e-6
    expected = dowhy_cina.estimate_effect(covariates, t, y, checkpoint="exact", augmentation="none")
    assert ours.effect(y) == pytest.approx(expected.value, rel=1e-6)
    groups = pd.Series(ours.weights_).groupby([*(data[name] for name in COVARIATES), t])
    assert groups.size().max() > 1
    assert (groups.max() - groups.min()).max() < 1e-15


def test_numpys_numbers_are_as_good_as_pythons(table):
    settings = {"bandwidth": np.int64(2), "regularisation": np.float32(0.1), "tolerance": np.float32(1e-4)}
    ours = CinaPerDataset(**settings).fit(*table[:2])
    expected = CinaPerDataset(**{name: value.item() for name, value in settings.items()}).fit(*table[:2])
    np.testing.assert_array_equal(ours.weights_, expected.weights_)
    assert repr(ours.bandwidth_) == "2.0"


def test_the_values_are_a_support_vector_machine_in_an_attention_layer(table, fitted):
    """Attention of the fitted values plus the intercept is the decision function of scikit-learn's SVC."""
    x, t, _ = table
    keys = Preprocessor().fit_transform(x)
    gram = rbf_kernel(keys, gamma=1 / (2 * fitted.bandwidth_**2))
    attention = gram / gram.sum(0)  # normalised over queries
    machine = SVC(C=10.0, kernel="precomputed", tol=1e-7).fit(gram, t)
    margin = attention @ fitted.values_ + fitted.intercept_
    assert margin == pytest.approx(machine.decision_function(gram), abs=1e-3)
    alpha = np.zeros(len(t))
    alpha[machine.support_] = np.abs(machine.dual_coef_[0]) / 10
    assert fitted.alpha_ == pytest.approx(alpha, abs=1e-4)


def test_weights_sum_to_one_in_each_arm(table, fitted):
    _, t, _ = table
    for arm in (0, 1):
        assert fitted.weights_[t == arm].sum() == pytest.approx(1)
        expected = fitted.alpha_[t == arm] / fitted.alpha_[t == arm].sum()
        assert fitted.weights_[t == arm] == pytest.approx(expected, abs=1e-12)
    assert (fitted.weights_ >= 0).all()
    assert fitted.n_iter_ > 0


def test_row_order_changes_no_digit(table, fitted):
    x, t, y = table
    order = np.random.default_rng(1).permutation(len(t))
    again = CinaPerDataset().fit(x[order], t[order])
    assert (again.weights_ == fitted.weights_[order]).all()
    assert again.effect(y[order]) == pytest.approx(fitted.effect(y), rel=1e-12)


def test_affine_changes_of_a_covariate_change_nothing(table, fitted):
    x, t, _ = table
    changed = CinaPerDataset().fit(x * [10, 0.1, -3] + 7, t)
    assert changed.weights_ == pytest.approx(fitted.weights_, abs=1e-9)


def test_settings_reach_the_problem(table):
    x, t, _ = table
    soft = CinaPerDataset(regularisation=10.0).fit(x, t)
    hard = CinaPerDataset(regularisation=0.01).fit(x, t)
    assert soft.weights_.max() < hard.weights_.max()
    assert CinaPerDataset(bandwidth=3.0).fit(x, t).bandwidth_ == 3.0
    assert clone(hard).get_params() == {"bandwidth": "median", "regularisation": 0.01, "tolerance": 1e-6}


def test_frames_labels_and_text(table, fitted):
    x, t, _ = table
    frame = pd.DataFrame(x, columns=list("abc"))
    assert CinaPerDataset().fit(frame, np.where(t, 2, -1)).weights_ == pytest.approx(fitted.weights_, abs=1e-9)
    frame["d"] = np.where(x[:, 0] > 0, "yes", "no")
    assert CinaPerDataset().fit(frame, t).duality_gap_ <= 1e-6


def test_no_covariate_that_varies_gives_the_difference_in_means(table):
    _, t, y = table
    effect = CinaPerDataset().fit(np.ones((len(t), 1)), t).effect(y)
    assert effect == pytest.approx(y[t == 1].mean() - y[t == 0].mean(), abs=0.3)


def test_a_tolerance_that_is_not_reached_is_said(table, monkeypatch):
    monkeypatch.setattr("dowhy_cina.mathematics.solvers.ACTIVE_SET_STEPS", 0)
    with pytest.warns(ConvergenceWarning, match=r"stopped at the relative duality gap .* above the tolerance 1e-12"):
        short = CinaPerDataset(tolerance=1e-12).fit(*table[:2])
    assert short.duality_gap_ > 1e-12


def test_too_many_rows_name_the_landmark_route():
    with pytest.raises(InputError, match=r"5000 rows, got 5001.*landmark"):
        CinaPerDataset().fit(np.zeros((5001, 1)), np.arange(5001) % 2)


def test_effect_before_fit():
    with pytest.raises(CinaError, match="fit"):
        CinaPerDataset().effect([1.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularisation": 0.0}, "regularisation"),
        ({"regularisation": float("nan")}, "regularisation"),
        ({"bandwidth": -1.0}, "bandwidth"),
        ({"bandwidth": "mean"}, "bandwidth"),
        ({"bandwidth": np.array([1.0, 2.0])}, "bandwidth"),
        ({"bandwidth": None}, "bandwidth"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_settings_that_are_refused(settings, message, table):
    with pytest.raises(InputError, match=message):
        CinaPerDataset(**settings).fit(*table[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t: (x[:-1], t), "same length"),
        (lambda x, t: (x, np.zeros(len(t))), "treat"),
        (lambda x, t: (x, np.arange(len(t)) % 3), "treatment_value|two"),
    ],
)
def test_tables_that_are_refused(change, message, table):
    with pytest.raises(InputError, match=message):
        CinaPerDataset().fit(*change(*table[:2]))


def test_a_treatment_of_words_is_to_be_coded():
    with pytest.raises(InputError, match=r"'no' .*'yes' .*CinaPerDataset\.fit takes 0 and 1, and no names of values"):
        CinaPerDataset().fit(np.arange(4.0)[:, None], ["yes", "no", "yes", "no"])
