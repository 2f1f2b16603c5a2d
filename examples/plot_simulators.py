"""
The simulators
==============

Training tables are drawn anew from these families. Each picture is one table of 1,000 rows and 10 covariates: who is
treated (the propensity, across) against the mean outcome without treatment (up), treated rows in orange.
"""

import matplotlib.pyplot as plt
import numpy as np
from dowhy_cina.simulators import DEFAULT_WEIGHTS, REGISTRY, draw_table

fig, axes = plt.subplots(6, 4, figsize=(10, 13), layout="constrained")
for ax, family in zip(axes.flat[: len(REGISTRY)], REGISTRY, strict=True):
    table = draw_table(np.random.default_rng(4), rows=1000, columns=10, families=[family])
    colours = np.where(table.treatment == 1, "tab:orange", "tab:blue")
    ax.scatter(table.propensity, table.mu0, s=3, c=colours)
    ax.set_title(f"{family} ({DEFAULT_WEIGHTS[family]:.0%} of tables)", fontsize="medium")
    ax.set(xlim=(-0.03, 1.03), yticks=[])
for ax in axes.flat[len(REGISTRY) :]:
    ax.axis("off")
fig.supxlabel("propensity")
fig.supylabel("mean outcome under control")
plt.show()

# %%
# What they are.

for family, simulator in REGISTRY.items():
    print(f"{family:18s}{simulator.__doc__.splitlines()[0]}")

# %%
# How much they differ: the naive comparison of the arms is wrong by very different amounts, and in some tables the
# treated are one row in a hundred.

print(f"\n{'':18s}{'treated share':>24s}{'error of the naive comparison / sd(Y)':>42s}")
for family in REGISTRY:
    shares, errors = [], []
    for seed in range(60):
        table = draw_table(np.random.default_rng(seed), rows=1000, columns=10, families=[family])
        treated = table.treatment == 1
        naive = table.outcome[treated].mean() - table.outcome[~treated].mean()
        shares.append(treated.mean())
        errors.append(abs(naive - table.effect) / table.outcome.std())
    low, high = np.quantile(shares, [0.05, 0.95])
    print(f"{family:18s}{low:15.2f} to {high:.2f}{np.mean(errors):42.2f}")
