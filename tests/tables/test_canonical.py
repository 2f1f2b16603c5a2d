"""What no permutation, sign or unit of rows and columns changes, and the key that orders rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from dowhy_cina.tables import Preprocessor, canonical_row_key
from dowhy_cina.tables.canonical import cluster_key, first_arm, turns_of


@st.composite
def tables(draw):
    """Tables with columns that tie in every marginal statistic, repeats, constants, wide units and few rows."""
    rows, columns = draw(st.integers(2, 40)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    base = rng.choice([0.0, 1.0], rows)
    kinds = draw(
        st.lists(
            st.sampled_from(["normal", "binary", "tied", "constant", "huge", "tiny", "count"]),
            min_size=columns,
            max_size=columns,
        )
    )
    make = {
        "normal": lambda: rng.normal(size=rows),
        "binary": lambda: (rng.random(rows) < 0.5).astype(float),
        "tied": lambda: rng.permutation(base),
        "constant": lambda: np.full(rows, 0.1),
        "huge": lambda: 1e9 * (1 + 1e-3 * rng.normal(size=rows)),
        "tiny": lambda: 1e-12 * rng.normal(size=rows),
        "count": lambda: rng.poisson(1.0, rows).astype(float),
    }
    return np.column_stack([make[kind]() for kind in kinds]), rng


class TestInvariance:
    @settings(max_examples=150, deadline=None)
    @given(tables())
    def test_rows_and_columns_of_a_frame(self, drawn):
        table, rng = drawn
        frame = pd.DataFrame(table, columns=[f"c{index}" for index in rng.permutation(table.shape[1])])
        rows, columns = rng.permutation(table.shape[0]), rng.permutation(table.shape[1])
        prepared, permuted = Preprocessor(), Preprocessor()
        covariates = prepared.fit_transform(frame)
        other = permuted.fit_transform(frame.iloc[rows, columns])
        np.testing.assert_array_equal(other, covariates[rows])
        np.testing.assert_array_equal(canonical_row_key(other), canonical_row_key(covariates)[rows])
        assert permuted.names_out == prepared.names_out
        np.testing.assert_array_equal(prepared.transform(frame.iloc[rows, columns]), covariates[rows])

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(2, 6))
    def test_columns_of_an_array_that_tie_in_their_marginals(self, seed, columns):
        rng = np.random.default_rng(seed)
        base = np.r_[np.zeros(20), np.ones(20)]
        table = np.column_stack([rng.normal(size=40), *(rng.permutation(base) for _ in range(columns))])
        rows, order = rng.permutation(40), rng.permutation(columns + 1)
        covariates = Preprocessor().fit_transform(table)
        other = Preprocessor().fit_transform(table[rows][:, order])
        np.testing.assert_array_equal(np.sort(other, axis=1), np.sort(covariates[rows], axis=1))
        np.testing.assert_array_equal(other, covariates[rows])

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def test_a_column_and_its_negative(self, seed, binary):
        rng = np.random.default_rng(seed)
        x = rng.permutation(np.r_[-np.ones(10), np.ones(10)]) if binary else rng.normal(size=20)
        table = np.column_stack([x, -x, rng.normal(size=20)])
        order = rng.permutation(3)
        np.testing.assert_array_equal(
            Preprocessor().fit_transform(table[:, order]), Preprocessor().fit_transform(table)
        )

    @settings(max_examples=50, deadline=None)
    @given(tables(), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
    def test_affine_changes(self, drawn, scale, shift):
        table, _ = drawn
        table = table - np.median(table, axis=0)  # so that the shift costs no digits of a huge level
        table /= np.where(np.ptp(table, axis=0) > 0, np.ptp(table, axis=0), 1.0)
        before = Preprocessor().fit_transform(table)
        after = Preprocessor().fit_transform((table + shift) * scale)
        assert after.shape == before.shape
        np.testing.assert_allclose(after, before, atol=1e-8)

    @settings(max_examples=50, deadline=None)
    @given(tables())
    def test_the_caller_keeps_his_array(self, drawn):
        table, _ = drawn
        table[0, 0] = np.nan
        for layout in ("C", "F"):
            given_table = np.array(table, order=layout)
            prepared = Preprocessor().fit(given_table)
            prepared.transform(given_table)
            readable = prepared.readable(given_table)
            readable.iloc[:, :] = 0.0
            np.testing.assert_array_equal(given_table, table)

    def test_categories_and_gaps(self, mixed_frame):
        frame = mixed_frame(200)
        rng = np.random.default_rng(5)
        rows, columns = rng.permutation(200), rng.permutation(frame.shape[1])
        prepared, permuted = Preprocessor(), Preprocessor()
        covariates = prepared.fit_transform(frame)
        np.testing.assert_array_equal(permuted.fit_transform(frame.iloc[rows, columns]), covariates[rows])
        assert prepared.names_out == permuted.names_out


def keys_of(table):
    return canonical_row_key(Preprocessor().fit_transform(table))


class TestSigns:
    @settings(max_examples=100, deadline=None)
    @given(tables())
    def test_a_negated_column(self, drawn):
        """Of columns that only the sign of another one tells apart, one stays as it was given."""
        table, rng = drawn
        table = np.column_stack([table, rng.normal(size=len(table)) ** 3])
        signs = rng.choice([-1.0, 1.0], table.shape[1])
        before, after = Preprocessor().fit_transform(table), Preprocessor().fit_transform(table * signs)
        assert after.shape == before.shape
        if len(table) > 10:
            np.testing.assert_allclose(after, before, atol=1e-8)

    def test_columns_point_to_their_longer_tail(self):
        x = np.random.default_rng(0).exponential(size=(200, 2))
        for signs in ([1, 1], [-1, 1], [-1, -1]):
            found = Preprocessor().fit_transform(x * signs)
            assert (found.max(axis=0) > -found.min(axis=0)).all()

    def test_balanced_columns_point_where_the_others_do(self):
        rng = np.random.default_rng(1)
        half = np.arange(200) % 2 * 2.0 - 1
        x = np.column_stack([rng.exponential(size=200), rng.permutation(half), rng.permutation(half)])
        for signs in ([1, -1, 1], [1, 1, -1], [-1, -1, -1]):
            np.testing.assert_allclose(keys_of(x * signs), keys_of(x), atol=1e-8)

    def test_balanced_columns_alone_follow_the_first(self):
        """No column tells where another points; that of the first name stays, and the others follow it."""
        first = np.arange(200) % 2 * 2.0 - 1
        second = first * np.where(np.arange(200) // 2 % 4 == 0, -1.0, 1.0)
        x = np.column_stack([first, second])
        np.testing.assert_array_equal(keys_of(x * [1, -1]), keys_of(x))

    def test_a_copy_changes_no_order(self):
        """Columns that tie are told apart by the others, among which a copy does not count twice."""
        rng = np.random.default_rng(3)
        base = rng.normal(size=200)
        x = np.column_stack([rng.exponential(size=200), *(rng.permutation(base) for _ in range(4))])
        for column in range(5):
            more = np.column_stack([x, 2.0 - 3.0 * x[:, column]])
            np.testing.assert_allclose(Preprocessor().fit_transform(more), Preprocessor().fit_transform(x), atol=1e-9)

    def test_rows_that_were_not_fitted_point_the_same_way(self):
        x = -np.random.default_rng(4).exponential(size=(200, 3))
        prepared = Preprocessor().fit(x)
        np.testing.assert_array_equal(prepared.transform(x[:9]), prepared.transform(x)[:9])
        np.testing.assert_array_equal(np.abs(prepared.deviations(x[:9])), np.abs(prepared.transform(x)[:9]))


def test_turns_count_the_rows_alike_before_each():
    key, arm = np.array([0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.5]), np.array([0, 0, 0, 1, 1, 1, 0])
    outcome = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0])
    assert turns_of(key, arm, outcome).tolist() == [0, 1, 2, 0, 0, 1, 0]
    assert turns_of(key[:0], arm[:0], outcome[:0]).tolist() == []
    assert not turns_of(np.arange(5.0), np.zeros(5), np.ones(5)).any()


def test_copies_take_one_turn_with_the_row_that_they_copy():
    key, arm = np.array([0.1, 0.1, 0.1, 0.1, 0.4, 0.5, 0.5]), np.zeros(7)
    assert turns_of(key, arm, np.array([3.0, 3.0, 3.0, 7.0, 9.0, 1.0, 1.0])).tolist() == [0, 0, 0, 1, 0, 0, 0]
    # People alike in a table with few outcomes are no copies: an outcome that other rows of the arm have, too.
    assert turns_of(key, arm, np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0])).tolist() == [0, 1, 2, 3, 0, 0, 1]


class TestRowKey:
    def test_uniform_and_distinct(self):
        covariates = Preprocessor().fit_transform(np.random.default_rng(6).normal(size=(5000, 3)))
        key = canonical_row_key(covariates)
        assert key.min() >= 0
        assert key.max() < 1
        assert len(np.unique(key)) == 5000
        counts = np.histogram(key, bins=20, range=(0, 1))[0]
        assert (np.abs(counts - 250) < 80).all()
        # Whoever takes the smallest keys takes a fair sample: its mean is within four standard errors of zero.
        assert (np.abs(covariates[np.argsort(key)[:500]].mean(axis=0)) < 4 / np.sqrt(500)).all()

    def test_balanced_binary_rows_do_not_collide(self):
        corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 10)).reshape(10, -1).T
        assert len(np.unique(canonical_row_key(corners))) == 1024

    def test_one_covariate_wide(self):
        assert canonical_row_key(np.empty((3, 0))).tolist() == [0, 0, 0]


def test_the_arm_that_comes_first_is_known_by_what_it_holds():
    key, outcome = np.array([0.1, 0.2, 0.3, 0.4]), np.array([5.0, 1.0, 2.0, 7.0])
    for t, expected in (([0, 0, 0, 1], 1), ([1, 1, 1, 0], 0), ([1, 0, 0, 1], 1), ([0, 1, 1, 0], 0)):
        for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
            arms = np.array(t, dtype=float)[order]
            assert first_arm(key[order], arms, outcome[order]) == expected
    same_keys = np.array([0.1, 0.1, 0.2, 0.2])
    assert first_arm(same_keys, np.array([0.0, 1, 1, 0]), outcome) == 1  # outcomes 1 and 2 against 5 and 7
    assert first_arm(same_keys, np.array([1.0, 0, 0, 1]), outcome) == 0


def test_keys_of_clusters_are_those_of_what_they_hold():
    rng = np.random.default_rng(0)
    cluster, values = np.repeat(np.arange(20), 3), rng.integers(0, 3, (2, 60)) * 1.0
    values[:, 3:6] = values[:, :3]
    key = cluster_key(cluster, list(values))
    assert (key.reshape(20, 3) == key[::3, None]).all()
    contents = [tuple(sorted(map(tuple, values[:, cluster == code].T))) for code in range(20)]
    for one in range(20):
        for other in range(20):
            assert (key[3 * one] == key[3 * other]) == (contents[one] == contents[other])
    order, names = rng.permutation(60), rng.permutation(20)
    moved = cluster_key(names[cluster][order], list(7.3 * values[:, order] - 20))
    np.testing.assert_array_equal(moved, key[order])
