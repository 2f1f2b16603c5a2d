"""Covariates for the network: encoded, imputed, standardised, without repeats, in canonical column order.

Letters: N rows, C raw covariates, E encoded columns, D columns that remain.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import CinaError, InputError
from dowhy_cina.mathematics.scaling import Array, Scaling, fit_scaling
from dowhy_cina.tables.canonical import column_order, find_duplicates
from dowhy_cina.tables.codes import Codes, find_codes
from dowhy_cina.tables.columns import MAX_LEVELS
from dowhy_cina.tables.encoding import Encoding, fit_encoding
from dowhy_cina.tables.modifiers import columns_as_read
from dowhy_cina.tables.reading import read_table
from dowhy_cina.tables.remarks import (
    codes_remark,
    constant_remark,
    far_remark,
    labels_remark,
    sentinels_remark,
    words_remark,
)

#: Encoded columns of a table: with 2,000 an estimate takes half a minute on a core, and its time grows with their cube.
MAX_COLUMNS = 2000


class Preprocessor:
    """Turn covariates of any kind into standardised columns.

    Text and categories become an indicator per level (one indicator where there are two levels), and so do numbers that
    are codes, if the treatment is known and goes by each value (:mod:`dowhy_cina.tables.codes`); missing numbers become
    the median beside an indicator ``<name>_missing``, those that stand for such, like -999, the median beside one of
    their own (:mod:`dowhy_cina.tables.sentinels`), and missing labels a level; constant and repeated columns are
    dropped; the rest is cut at :data:`~dowhy_cina.mathematics.scaling.FAR` interquartile ranges from the quartiles,
    standardised, cut at `CLIP` standard deviations and pointed to the side of its longer tail. The result is the same
    to the last bit, up to the permutation, when rows or columns are permuted, and to rounding when columns are negated,
    shifted or scaled.

    Attributes
    ----------
    names_in : list of str
        Raw covariates, in the user's order.
    names_out : list of str
        The D columns of `transform`, in canonical order.
    dropped : dict of str to str
        Encoded columns that were dropped, and why.
    """

    names_in: list[str]
    names_out: list[str]
    dropped: dict[str, str]

    def __init__(self) -> None:
        self._encoding: Encoding | None = None
        self._varying: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._kept: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._signs: Array = np.empty(0)
        self._rows, self._clustered = 0, False
        self._scaling: Scaling | None = None
        self._readable_scaling: Scaling | None = None
        self._unread_codes: list[tuple[str, int]] = []
        self._far: list[tuple[str, int]] = []

    def fit(self, covariates: Any) -> Preprocessor:
        """Learn levels, imputed values, scaling and column order from a table.

        Parameters
        ----------
        covariates : array_like, DataFrame or Series, shape (N, C) or (N,)
            Numbers, booleans, text or categories, in any unit; NaN allowed.

        Raises
        ------
        InputError
            If the shape is wrong, no row is there, a value is infinite, or there are more than `MAX_COLUMNS` columns.
        InputTypeError
            If a column holds dates, complex numbers or containers.
        """
        self.fit_transform(covariates)
        return self

    def fit_transform(self, covariates: Any, treatment: Array | None = None, cluster: Codes | None = None) -> Array:
        """Fit to a table and return its transform (N, D); the same as both in turn, in half the time.

        Parameters
        ----------
        covariates
            As of `fit`.
        treatment : ndarray, shape (N,), optional
            0 or 1, which tells what is a code.
        cluster : ndarray of int, shape (N,), optional
            Codes of clusters.
        """
        table, self._clustered = read_table(covariates), cluster is not None
        encoding = fit_encoding(table)
        encoded = encoding.apply(table)
        ascending = np.sort(encoded, axis=1)
        if treatment is not None:
            codes = self._find_codes(encoding, encoded, ascending, treatment, cluster)
            if codes:
                encoding = fit_encoding(table, codes)
                encoded = encoding.apply(table)
                ascending = np.sort(encoded, axis=1)
        scaling = fit_scaling(ascending)
        varying = np.flatnonzero(~scaling.constant)
        names = [encoding.names[column] for column in varying]
        self.dropped = {encoding.names[column]: "constant" for column in np.flatnonzero(scaling.constant)}
        if scaling.constant.any():
            encoded, ascending, scaling = encoded[varying], ascending[varying], scaling.take(varying)
        self._far = [(name, rows) for name, rows in zip(names, scaling.far_rows(ascending), strict=True) if rows]
        standardised, ascending = scaling.apply(encoded), scaling.apply(ascending)
        repeats = find_duplicates(standardised, ascending, names)
        self.dropped |= {names[column]: f"duplicate of {names[other]!r}" for column, other in sorted(repeats.items())}
        # Repeats go before the others are put in order, on which they would have a say otherwise.
        single = np.array([column for column in range(len(names)) if column not in repeats], dtype=np.intp)
        if len(single) > MAX_COLUMNS:
            raise InputError(
                f"X: expected at most {MAX_COLUMNS} columns that vary, with one for each level of a text, got "
                f"{len(single)}. Choose among the covariates, group their levels, or give principal components."
            )
        order, signs = column_order(standardised[single], ascending[single], [names[column] for column in single])
        kept = single[order]
        self.names_in, self.names_out = encoding.names_in, [names[column] for column in kept]
        self._encoding, self._varying, self._signs, self._rows = encoding, varying, signs[order], table.rows
        self._kept, self._scaling, self._readable_scaling = varying[kept], scaling.take(kept), scaling
        return self._pointed(standardised[kept])

    def _find_codes(
        self, encoding: Encoding, encoded: Array, ascending: Array, treatment: Array, cluster: Codes | None
    ) -> list[int]:
        """Places of the covariates that are codes; those of too many values are left for a remark."""
        found = find_codes(encoded, ascending, treatment, cluster)
        wide = len(encoded) + sum(one.levels for one in found) > MAX_COLUMNS
        # Numbers that stand for missing ones are levels, too.
        left = [one for one in found if wide or one.levels + len(encoding.sentinels) > MAX_LEVELS]
        self._unread_codes = [(encoding.names[one.place], one.levels) for one in left]
        return sorted({encoding.sources[one.place] for one in found if one not in left})

    def transform(self, covariates: Any) -> Array:
        """Encode and standardise a table like the fitted one.

        Parameters
        ----------
        covariates : array_like, DataFrame or Series, shape (N, C)
            The covariates of the fit; frames may hold them in another order and beside other columns.

        Returns
        -------
        ndarray, shape (N, D)
            Standardised columns in canonical order and direction; the row order is kept.

        Raises
        ------
        InputError
            As `fit`, and if a covariate is missing, or has a level or missing values that the fitted table lacks.
        InputTypeError
            As `fit`, and if a covariate of numbers holds labels now.
        """
        encoded = self._encode(covariates)
        assert self._scaling is not None
        return self._pointed(self._scaling.apply(encoded[self._kept]))

    def _pointed(self, standardised: Array) -> Array:
        """Rows of standardised columns, each of which points its canonical way."""
        pointed: Array = np.ascontiguousarray(standardised.T)
        if (self._signs < 0).any():
            pointed *= self._signs
        return pointed

    def deviations(self, covariates: Any) -> Array:
        """Encode a table and return how far each value is from the fitted mean, (N, D), in units of the fitted sd.

        Unlike those of `transform`, the values are cut only where they are far from all others.
        """
        encoded = self._encode(covariates)
        assert self._scaling is not None
        return np.ascontiguousarray(self._scaling.apply(encoded[self._kept], np.inf).T)

    def readable_deviations(self, covariates: Any) -> Array:
        """Columns of `readable` (N, E) in standard deviations from their means, whatever their levels and units."""
        assert self._readable_scaling is not None
        return np.ascontiguousarray(self._readable_scaling.apply(self._encode(covariates)[self._varying], np.inf).T)

    def in_own_units(self, columns: npt.NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        """Values of columns of `transform` as the covariates have them, and where each column points.

        Parameters
        ----------
        columns : ndarray of int, shape (n,)
            Places in `names_out`.
        values : ndarray, shape (n,)
            One of each, as `transform` gives them.

        Returns
        -------
        values, signs : ndarray, shape (n,)
            Signs are -1 where a column falls as its covariate rises.
        """
        assert self._scaling is not None
        signs, own = self._signs[columns], self._scaling.take(columns)
        return (values * signs * own.sd + own.mean + own.centre) / own.unit, signs

    def rescaled(self, mean: Array, sd: Array) -> Preprocessor:
        """Return a copy that standardises by other moments, for a table of which only a sample was fitted.

        Parameters
        ----------
        mean, sd : ndarray, shape (D,)
            Of the deviations.
        """
        assert self._scaling is not None
        other, old = copy.copy(self), self._scaling
        other._scaling = replace(old, mean=old.mean + mean * old.sd, sd=old.sd * sd)
        return other

    def readable(self, covariates: Any) -> pd.DataFrame:
        """Return the encoded columns in the user's units and order, all but the constant ones, for balance tables.

        Parameters
        ----------
        covariates : array_like, DataFrame or Series, shape (N, C)
            The covariates of the fit.

        Returns
        -------
        DataFrame, N rows
            Indicators of levels are called ``column=level``; imputed values stand where some were missing.
        """
        return pd.DataFrame(self._encode(covariates)[self._varying].T, columns=self.names_readable)

    def cut(self, readable: pd.DataFrame) -> pd.DataFrame:
        """Columns of `readable` without what is far from their other numbers; the frame itself where nothing is."""
        assert self._readable_scaling is not None
        columns = readable.to_numpy().T
        cut = self._readable_scaling.cut(columns)
        return readable if cut is columns else pd.DataFrame(cut.T, readable.index, readable.columns)

    def as_read(self, columns: pd.DataFrame) -> pd.DataFrame:
        """Some raw covariates with the values read in them, see :func:`dowhy_cina.tables.modifiers.columns_as_read`."""
        encoding = self._encoding
        assert encoding is not None
        far = [one._replace(place=encoding.numeric[one.place]) for one in encoding.sentinels]
        codes = {at: len(encoding.levels[at]) for at in encoding.codes}
        return columns_as_read(columns, encoding.labels, encoding.wordings, far, codes)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What whoever reads a result should know of how the covariates were read."""
        encoding = self._encoding
        assert encoding is not None
        varying = {encoding.sources[column] for column in self._varying}
        remarks = constant_remark(name for at, name in enumerate(encoding.names_in) if at not in varying)
        remarks += words_remark((encoding.names_in[at], found) for at, found in encoding.wordings.items())
        remarks += sentinels_remark(
            (encoding.names_in[encoding.numeric[place]], value) for place, value, _ in encoding.sentinels
        )
        remarks += far_remark(self._far)
        read = [(encoding.names_in[at], len(encoding.levels[at])) for at in encoding.codes]
        remarks += codes_remark(read, True) + codes_remark(self._unread_codes, False)
        for at in sorted(set(encoding.levels) - set(encoding.codes)):
            remarks += labels_remark(encoding.names_in[at], encoding.levels[at], self._rows, self._clustered)
        return remarks

    @property
    def is_plain(self) -> bool:
        """Whether the columns of `readable` are the raw ones as numbers: each varies, none is a label or imputed."""
        return self._encoding is not None and self._encoding.order is None and len(self._varying) == len(self.names_in)

    @property
    def names_readable(self) -> list[str]:
        """Names of the columns of `readable`."""
        assert self._encoding is not None
        return [self._encoding.names[column] for column in self._varying]

    def _encode(self, covariates: Any) -> Array:
        encoding = self._encoding
        if encoding is None:
            raise CinaError("Preprocessor: not fitted yet. Call fit first.")
        numbers, wordings = encoding.read_as_numbers, encoding.wordings
        return encoding.apply(read_table(covariates, encoding.labels, numbers, not encoding.named, wordings))
