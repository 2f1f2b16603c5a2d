"""
Long tables: how many landmarks are enough
==========================================

A table of at most 128 rows is computed exactly: every row spans the kernels. A longer one is computed with 128
landmarks, which makes time and memory linear in the rows. The landmarks are chosen by what the rows hold, so that
their order changes nothing, and half of them come from each arm. This page adds landmarks to the same tables and
watches the estimate approach the exact one, in units of its standard error.
"""

# %%
# Twelve simulated tables of 800 rows with different designs, and an estimate for each number of landmarks.
import matplotlib.pyplot as plt
import numpy as np
from dowhy_cina.simulators import draw_table

from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions

ROWS, LANDMARKS = 800, (16, 32, 64, 128, 256, 512, 800)


def estimate(table, landmarks):
    """Estimate with so many landmarks; with None by default, which depends on the rows of the smaller arm."""
    options = EstimatorOptions(landmarks=landmarks)
    return analyse(table.covariates, table.treatment, table.outcome, options=options).effect()


distances = []
for seed in range(12):
    table = draw_table(np.random.default_rng(seed), ROWS, 8)
    results = [estimate(table, landmarks) for landmarks in LANDMARKS]
    exact = results[-1]
    distances.append([abs(result.value - exact.value) / exact.standard_error for result in results[:-1]])
distances = np.array(distances)
for landmarks, column in zip(LANDMARKS, distances.T, strict=False):
    print(f"{landmarks:4d} landmarks: median {np.median(column):.4f}, largest {column.max():.3f} standard errors")

# %%
# Every grey line is a table. From 32 landmarks on the median distance shrinks with each doubling; at the default it is
# a few hundredths of a standard error. A line jumps where cross-validation settles on another penalty.
figure, axis = plt.subplots(layout="constrained")
axis.loglog(LANDMARKS[:-1], distances.T, color="0.8", linewidth=1)
axis.loglog(LANDMARKS[:-1], np.median(distances, 0), "o-", label="median")
axis.axvline(estimate(table, None).plan.landmarks, color="C1", linestyle="--", label="default")
axis.set_xticks(LANDMARKS[:-1], LANDMARKS[:-1])
axis.minorticks_off()
axis.set_xlabel("landmarks")
axis.set_ylabel("distance to the exact estimate [standard errors]")
axis.legend()
plt.show()

# %%
# What was done is in the result: the route, the landmarks, the rows of a block and the memory that was planned with.
print(exact.plan)
print(estimate(table, 128).plan)
