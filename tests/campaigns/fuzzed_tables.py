"""Tables of all kinds: a description that hypothesis can draw and shrink, and the table that it stands for."""

from __future__ import annotations

import decimal
from dataclasses import dataclass

import numpy as np
import pandas as pd
from hypothesis import strategies as st

#: What a column can hold; each takes a generator and a number of rows.
NUMBERS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: np.exp(3 * rng.normal(size=n)),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "level": lambda rng, n: 1e9 + rng.normal(size=n),
    "counts": lambda rng, n: rng.poisson(1.0, n).astype(float),
    "binary": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "constant": lambda rng, n: np.full(n, 3.7),
    "zeros": lambda rng, n: np.zeros(n),
    "nearly constant": lambda rng, n: 1 + 2.3e-16 * np.arange(n),
    "nearly equal": lambda rng, n: 1 + 1e-12 * rng.integers(0, 4, n),
    "one far": lambda rng, n: np.where(np.arange(n) == 1, 1e12, rng.normal(size=n)),
    "steps": lambda rng, n: np.arange(n) * 1.0,
}
LABELS = {
    "text": lambda rng, n: rng.choice(["north", "south", "w,e\"s't", ""], n).astype(object),
    "unicode": lambda rng, n: rng.choice(["ä", "b\n", "名", "\x00"], n).astype(object),
    "identifiers": lambda rng, n: np.array([f"id{i}" for i in range(n)], dtype=object),
    "category": lambda rng, n: pd.Categorical(rng.choice(["a", "b"], n), categories=["z", "b", "a"]),
    "ordered numbers": lambda rng, n: pd.Categorical(rng.integers(0, 3, n), ordered=True),
    "one and text one": lambda rng, n: np.array([(1, "1")[k] for k in rng.integers(0, 2, n)], dtype=object),
    "missing by name": lambda rng, n: rng.choice(["missing", "nan", None], n).astype(object),
    "truth": lambda rng, n: rng.random(n) < 0.5,
    "objects": lambda rng, n: np.array([(True, 2.5, "x", b"y")[k] for k in rng.integers(0, 4, n)], dtype=object),
}
TYPES = {
    "Int64": lambda rng, n: pd.array(rng.integers(-3, 3, n), dtype="Int64"),
    "uint8": lambda rng, n: rng.integers(0, 255, n).astype(np.uint8),
    "uint64": lambda rng, n: rng.integers(0, 2**63, n).astype(np.uint64) * 2,
    "float16": lambda rng, n: rng.normal(size=n).astype(np.float16),
    "float32": lambda rng, n: rng.normal(size=n).astype(np.float32),
    "boolean": lambda rng, n: pd.array(rng.random(n) < 0.5, dtype="boolean"),
    "string": lambda rng, n: pd.array(rng.choice(["a", "b"], n), dtype="string"),
    "sparse": lambda rng, n: pd.arrays.SparseArray(rng.integers(0, 2, n) * 1.0),
    "decimal": lambda rng, n: np.array([decimal.Decimal(int(k)) / 7 for k in rng.integers(0, 9, n)], dtype=object),
    "numbers as objects": lambda rng, n: rng.normal(size=n).astype(object),
    "not a time": lambda rng, n: np.array([(pd.NaT, 1, 2, 3)[k] for k in rng.integers(0, 4, n)], dtype=object),
}
#: What no estimate can be made of.
FOREIGN = {
    "infinite": lambda rng, n: np.where(np.arange(n) == n // 2, np.inf, rng.normal(size=n)),
    "largest": lambda rng, n: rng.choice([-1.7e308, 1.7e308], n),
    "dates": lambda rng, n: pd.date_range("2020-01-01", periods=n),
    "durations": lambda rng, n: pd.to_timedelta(np.arange(n), unit="s"),
    "complex": lambda rng, n: rng.normal(size=n) + 1j,
    "lists": lambda rng, n: pd.Series([[1]] * n, dtype=object),
    "beyond floats": lambda rng, n: np.array([10**400, *range(n - 1)], dtype=object),
    "long": lambda rng, n: np.array(["x" * 10**5, *("y" for _ in range(n - 1))], dtype=object),
}
COLUMNS = NUMBERS | LABELS | TYPES | FOREIGN
#: Powers of ten that numbers are multiplied by.
SCALES = (0, 0, 0, 0, 0, 0, 0, 0, -8, 8, -160, 153, 270, -270, -300, 300)
ARMS = ("integers", "integers", "integers", "truth", "text", "category", "three", "nullable", "numbers")
ODD_ARMS = ("one arm", "one treated", "missing", "continuous", "lists", "dates", "objects")
SHAPES = ("frame", "frame", "frame", "array", "list", "odd index", "many blocks", "read only")
ODD_SHAPES = ("repeated names", "ragged", "sparse", "empty", "series", "nothing", "masked")
SURROUNDINGS = ("usual", "usual", "usual", "arithmetic raises", "meta", "float16", "float64")
OPTIONS = {
    "target_units": ("att", "atc", "overlap", "mask", "rows", "other rows", "nobody", "no mask"),
    "augmentation": ("none", "kernel", "other"),
    "checkpoint": ("exact", "cina-selfsup", None, "no such", ""),
    "confidence_level": (0.5, 1 - 2**-53, 1e-320, "0.9", None, 1.0, float("nan")),
    "refine": (1e-3, 0.5, "1e-3", 0, float("nan")),
    "landmarks": (2, 7, 16, 0, "12", 2.5),
    "memory_limit": ("1GB", "101MB", 4e9, "9" * 400 + "GB", ""),
    "device": ("cpu", "auto", "cuda:7", None),
    "treatment_value": ("own", "own", pd.NA, "1", float("nan"), 10**400),
    "control_value": ("own", "own", pd.NaT, [0]),
    "sample_weight": ("even", "random", "huge", "tiny", "zeros", "negative", "text", "short"),
    "cluster": ("pairs", "text", "one", "missing", "own", "lists"),
    "covariates": (["c0"], ["c0"], [], ["no such"], "c0", 3),
}


BOTH_NAMED = (("treatment_value", "own"), ("control_value", "own"))


@dataclass(frozen=True)
class Column:
    """A column: what it holds, the power of ten that its numbers are scaled by, the share that is missing."""

    kind: str = "normal"
    power: int = 0
    missing: float = 0.0

    def make(self, rng: np.random.Generator, rows: int) -> pd.Series:
        """Values, as a Series of their own type."""
        values = COLUMNS[self.kind](rng, rows)
        if self.kind in NUMBERS and self.power:
            with np.errstate(all="ignore"):
                values = np.clip(values * 10.0**self.power, -1.7e308, 1.7e308)
        column = pd.Series(values, dtype=object if getattr(values, "dtype", None) == np.dtype(object) else None)
        if self.missing:
            column = column.mask(rng.random(rows) < self.missing)
        return column


@dataclass(frozen=True)
class Case:
    """A table and a question; `seed` decides its numbers."""

    columns: tuple[Column, ...] = (Column(),)
    outcome: Column = Column()
    rows: int = 24
    arms: str = "integers"
    shape: str = "frame"
    surroundings: str = "usual"
    options: tuple[tuple[str, object], ...] = ()
    seed: int = 0
    effect: float = 1.0

    def generator(self) -> np.random.Generator:
        """The generator that the table is drawn with."""
        return np.random.default_rng(self.seed)

    def frame(self) -> pd.DataFrame:
        """Covariates c0, c1, ..., treatment t and outcome y."""
        rng = self.generator()
        frame = pd.DataFrame({f"c{k}": column.make(rng, self.rows) for k, column in enumerate(self.columns)})
        arm = (rng.random(self.rows) < 0.5).astype(int)
        arm[:4] = (0, 1, 0, 1)
        outcome = self.outcome.make(rng, self.rows)
        if self.outcome.kind in ("normal", "lognormal"):
            outcome = outcome + self.effect * arm * 10.0**self.outcome.power
        return frame.assign(t=treatment(self.arms, arm, rng), y=outcome)

    def given(self) -> dict[str, object]:
        """Options of the estimate, with values where a word stands for them."""
        rng, n = np.random.default_rng([self.seed, 1]), self.rows
        words = {
            "target_units": {"mask": rng.random(n) < 0.5, "nobody": np.zeros(n, bool), "no mask": np.zeros(n + 1)},
            "sample_weight": {
                "even": np.ones(n),
                "random": rng.gamma(1.0, 1.0, n),
                "huge": np.full(n, 1e308),
                "tiny": np.full(n, 5e-324),
                "zeros": np.zeros(n),
                "negative": -np.ones(n),
                "text": ["a"] * n,
                "short": np.ones(n - 1),
            },
            "cluster": {
                "pairs": np.arange(n) // 2,
                "text": rng.choice(["a", "b", "c", "d", "e", "f"], n),
                "one": np.zeros(n),
                "missing": [None] * n,
                "own": np.arange(n),
                "lists": [[1]] * n,
            },
            "treatment_value": {"own": treatment(self.arms, np.ones(4, int), rng)[0]},
            "control_value": {"own": treatment(self.arms, np.zeros(4, int), rng)[0]},
        }
        return {
            name: words.get(name, {}).get(word, word) if isinstance(word, str) else word for name, word in self.options
        }


def treatment(kind: str, arm: np.ndarray, rng: np.random.Generator) -> object:
    """Column of a treatment from arms of 0 and 1."""
    n = len(arm)
    first = np.arange(n) == 0
    return {
        "integers": lambda: arm,
        "truth": lambda: arm == 1,
        "text": lambda: np.where(arm == 1, "drug", "none").astype(object),
        "category": lambda: pd.Categorical(np.where(arm == 1, "b", "a"), categories=["a", "b", "z"]),
        "three": lambda: np.where(rng.random(n) < 0.3, 2, arm),
        "nullable": lambda: pd.array(arm, dtype="Int64"),
        "numbers": lambda: 0.25 + 1e10 * arm,
        "one arm": lambda: np.ones(n),
        "one treated": lambda: first.astype(int),
        "missing": lambda: pd.array(np.where(first, None, arm), dtype="Int64"),
        "continuous": lambda: rng.normal(size=n),
        "lists": lambda: pd.Series([[int(k)] for k in arm], dtype=object),
        "dates": lambda: pd.date_range("2020-01-01", periods=n),
        "objects": lambda: np.array([("1", 1)[k] for k in arm], dtype=object),
    }[kind]()


def columns(odd: bool) -> st.SearchStrategy[Column]:
    """Columns, of which with `odd` some can be no covariate."""
    kinds = [*NUMBERS, *LABELS, *TYPES, *(FOREIGN if odd else ())]
    missing = st.sampled_from((0.0, 0.0, 0.0, 0.1, 0.9, 1.0))
    return st.builds(Column, st.sampled_from(kinds), st.sampled_from(SCALES), missing)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Cases; most are tables that ought to be answered, with both arms named where nothing else tells them."""
    odd = draw(st.integers(0, 3)) == 3
    arms = draw(st.sampled_from(ARMS + (ODD_ARMS if odd else ())))
    names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=3, unique=True))
    options = tuple((name, draw(st.sampled_from(OPTIONS[name] if odd else OPTIONS[name][:2]))) for name in names)
    if not odd and arms in ("text", "category", "three"):
        options = (*(pair for pair in options if not pair[0].endswith("_value")), *BOTH_NAMED)
    outcome = columns(True) if odd else st.builds(Column, st.sampled_from(sorted(NUMBERS)), st.sampled_from(SCALES))
    return Case(
        columns=tuple(draw(st.lists(columns(odd), min_size=0 if odd else 1, max_size=5))),
        outcome=draw(outcome),
        rows=draw(st.sampled_from((24, 6, 9, 60, 130, 300))),
        arms=arms,
        shape=draw(st.sampled_from(SHAPES + (ODD_SHAPES if odd else ()))),
        surroundings=draw(st.sampled_from(SURROUNDINGS)),
        options=options,
        seed=draw(st.integers(0, 2**16)),
        effect=draw(st.sampled_from((1.0, 0.0, 1e6))),
    )
