"""What no permutation, sign or unit of rows and columns changes, and the key that orders rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from dowhy_cina.tables import Preprocessor, canonical_row_key


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
