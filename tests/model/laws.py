"""Tables whose outcomes jump, follow a season, a map or a difference: with their treatment, and an effect of .5."""

from __future__ import annotations

import numpy as np


def jumps(seed, rows=800, columns=6):
    """Treatment and outcome jump at a threshold and where two covariates lie on the same side of zero; effect .5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    drive = 1.5 * (x[:, 0] > 0.6) + np.sign(x[:, 1] * x[:, 2]) + 0.3 * x[:, -1]
    t = (rng.random(rows) < 1 / (1 + np.exp(-drive + drive.mean()))).astype(int)
    return x, t, drive + 0.5 * t + rng.normal(size=rows)


def season(seed, rows=800, columns=6):
    """Treatment and outcome follow a year, of which the first covariate has three; effect .5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    x[:, 0] = rng.uniform(0, 3, rows)
    drive = 1.2 * np.cos(2 * np.pi * x[:, 0])
    t = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
    return x, t, drive + 0.3 * x[:, -1] + 0.5 * t + rng.normal(size=rows)


def on_a_map(seed, rows=800, columns=6):
    """Treatment and outcome are a checked function of the first two covariates; effect .5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    x[:, :2] = rng.uniform(0, 1, (rows, 2))
    drive = 1.5 * np.cos(2.5 * np.pi * x[:, 0]) * np.cos(2.5 * np.pi * x[:, 1])
    t = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
    return x, t, drive + 0.3 * x[:, -1] + 0.5 * t + rng.normal(size=rows)


def weekdays(seed, rows=800, columns=6):
    """Treatment and outcome are others on two days in seven, of days that are counted; effect .5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    x[:, 0] = rng.integers(0, 500, rows)
    drive = 2.0 * (x[:, 0] % 7 > 4)
    t = (rng.random(rows) < 1 / (1 + np.exp(1 - drive))).astype(int)
    return x, t, drive + 0.3 * x[:, -1] + 0.5 * t + rng.normal(size=rows)


def before_and_after(seed, rows=800, columns=6):
    """Treatment and outcome go by how far the second covariate, the first one measured again, is off; effect .5."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    change = rng.normal(size=rows)
    x[:, 1] = x[:, 0] + 0.15 * change
    drive = 1.6 * np.abs(change) - 1.3
    t = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
    return x, t, drive + 0.3 * x[:, -1] + 0.5 * t + rng.normal(size=rows)


def practices(seed, rows=800, columns=6, levels=40):
    """Treatment and outcome go by the practice, by a level and a slope of its own; effect .5.

    The slopes are along the last covariate, after which comes an indicator of each practice.
    """
    rng = np.random.default_rng(seed)
    practice, (level, slope) = rng.integers(0, levels, rows), rng.normal(size=(2, levels))
    x = rng.normal(size=(rows, columns))
    drive = 1.2 * (level[practice] + slope[practice] * x[:, -1])
    t = (rng.random(rows) < 1 / (1 + np.exp(-drive))).astype(int)
    return np.column_stack([x, np.eye(levels)[practice]]), t, drive + 0.3 * x[:, 0] + 0.5 * t + rng.normal(size=rows)


def stores(seed, count=30, weeks=52):
    """Treatment and outcome of stores and weeks go by the store's level and the season; effect .5, and the stores."""
    rng = np.random.default_rng(seed)
    store, week = np.repeat(np.arange(count), weeks), np.tile(np.arange(weeks), count)
    drive = rng.normal(size=count)[store] + 1.5 * np.cos(2 * np.pi * week / weeks)
    t = (rng.random(len(drive)) < 1 / (1 + np.exp(-drive))).astype(int)
    x = np.column_stack([week, rng.normal(size=len(drive)), np.eye(count)[store]])
    return x, t, drive + 0.3 * x[:, 1] + 0.5 * t + rng.normal(size=len(drive)), store


def illnesses(seed, rows=1200, columns=9):
    """Treatment and outcome jump where at least half of eight illnesses are there; effect .5."""
    rng = np.random.default_rng(seed)
    x = (rng.random((rows, columns)) < 0.5).astype(np.float64)
    x[:, -1] = rng.normal(size=rows)
    drive = 1.5 * (x[:, :-1].sum(1) > columns / 2 - 0.5)
    t = (rng.random(rows) < 1 / (1 + np.exp(drive.mean() - drive))).astype(int)
    return x, t, drive + 0.3 * x[:, -1] + 0.5 * t + rng.normal(size=rows)
