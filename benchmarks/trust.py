"""Whether estimates and intervals can be trusted where it is hard, each figure beside its goal.

    python benchmarks/trust.py [--data FOLDER] [--quick] [--only PART ...] [--tables FILE] [--compare FILE] [--csv FILE]

Rows that belong together; populations that the package's simulators do not know (``benchmarks/foreign.py``), real
covariates with surfaces of another kind, columns of noise, thin groups; with FOLDER, which holds a ``load.py`` (see
``benchmarks/tables.py``), published tables. Shares come with Wilson's 95 % limits. Every table is drawn from a seed of
its own: ``--tables`` writes what was found on each, and ``--compare`` prints the price against such a file of another
version. Exit code 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accuracy import FLOOR
from foreign import ForeignTable, foreign_table
from real_surfaces import aipw, real_table
from repeated_rows import CLUSTERS, clustered_sample, doubled, equality_p_values
from tables import COLLECTIONS, realisations
from threadpoolctl import threadpool_limits
from tqdm import tqdm
from trust_figures import Figure, at_least, at_most, by_columns, mean, median, number, price, sampling_figures, share

import dowhy_cina
from dowhy_cina import EffectResult
from dowhy_cina.learning.evaluation.classical import kernel_ridge

#: Tables that are estimated in one call.
BLOCK = 40
#: AIPW, which is slow, on one table of real covariates of so many.
AIPW_SHARE = 4
NOISE_COLUMNS = (10, 30)
#: Errors of the classical methods on the development part, as ``benchmarks/accuracy.py --csv`` measured them.
CLASSICAL = Path(__file__).parent.parent / "docs/measured/accuracy-published.csv"
PSID = ("lalonde_psid_realcause", "lalonde_psid_hard")
STRATA = ("columns", "rows", "overlap", "heterogeneity", "driver")
KERNEL_RIDGE = "mean error / kernel ridge's, in each arm"


class Plan(NamedTuple):
    """How many tables of each part, the seed of them all, and the folder of published tables."""

    foreign: int
    real: int
    noise: int
    clusters: int
    groups: int
    doubled: int
    seed: int
    data: Path | None


Part = Callable[[Plan], tuple[list[Figure], pd.DataFrame]]


def estimate(tables: Iterable[tuple[Any, Any, Any]], **options: Any) -> list[EffectResult]:
    """Estimates of many tables, a block of them at a time."""
    found: list[EffectResult] = []
    remaining = iter(tables)
    while block := list(islice(remaining, BLOCK)):
        found += dowhy_cina.estimate_effects(block, **options)
    return found


def record(result: EffectResult, effect: float, scale: float, **more: Any) -> dict[str, Any]:
    """What is kept of an estimate; width, error and attainable width in sd of the outcome."""
    low, high = result.confidence_interval or (np.nan, np.nan)
    return {
        "value": result.value,
        "standard_error": result.standard_error,
        "truth": effect,
        "covered": low <= effect <= high,
        "significant": not low <= 0 <= high,
        "width": (high - low) / scale,
        "error": abs(result.value - effect) / scale,
        **more,
    }


def measure(part: str, tables: Sequence[ForeignTable], extra: int = 0) -> pd.DataFrame:
    """A row per table, with so many columns of noise added."""

    def given(index: int, table: ForeignTable) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng([20_261_133, extra, index])
        return np.hstack([table.x, rng.normal(size=(len(table.y), extra))]), table.t, table.y

    triples = (given(index, table) for index, table in enumerate(tables))
    rows = []
    for index, (table, result) in enumerate(zip(tables, estimate(tqdm(triples, part, len(tables))), strict=True)):
        scale = table.y.std()
        row = record(result, table.effect, scale, attainable=2 * 1.96 * table.attainable / scale)
        rows.append({"part": part, "table": index, "N": len(table.y), "D": table.x.shape[1], **table.classes, **row})
    frame = pd.DataFrame(rows)
    return frame.assign(null=frame["null"] == "True")


def foreign_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Foreign simulator, beside kernel ridge regression in each arm."""
    tables = [foreign_table(index, plan.seed) for index in range(plan.foreign)]
    frame, errors = measure("foreign", tables), []
    for table in tqdm(tables, "kernel ridge"):
        with threadpool_limits(1):
            errors.append(abs(kernel_ridge(table.x, table.t, table.y)[0] - table.effect) / table.y.std())
    ratio = number("foreign", KERNEL_RIDGE, frame["error"].mean() / np.mean(errors), at_most(0.85), len(frame))
    return [*sampling_figures("foreign", frame, STRATA), *by_columns("foreign", frame), ratio], frame


def noise_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Columns of pure noise, added to foreign tables."""
    tables = [foreign_table(index, plan.seed) for index in range(plan.noise)]
    frames = [measure("noise 0", tables), *(measure(f"noise {extra}", tables, extra) for extra in NOISE_COLUMNS)]
    figures = [share("noise columns", "coverage without", frames[0]["covered"])]
    for extra, frame in zip(NOISE_COLUMNS, frames[1:], strict=True):
        figures.append(share("noise columns", f"coverage with {extra}", frame["covered"]))
        ratios = frame["width"] / frames[0]["width"]
        figures.append(median("noise columns", f"width with {extra} / without", ratios, at_least(0.99)))
    return figures, pd.concat(frames)


def real_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Real covariates, foreign surfaces, beside AIPW with boosted trees."""
    tables = [real_table(index, plan.seed) for index in range(plan.real)]
    frame = measure("real", tables)
    figures = sampling_figures("real covariates", frame, ("family", "rows", "overlap", "heterogeneity", "driver"))
    beside, errors, widths = frame.iloc[::AIPW_SHARE], [], []
    for table in tqdm(tables[::AIPW_SHARE], "AIPW"):
        with threadpool_limits(1):  # threads of boosted trees wait for each other in loops
            value, error = aipw(table.x, table.t, table.y)
        errors.append(abs(value - table.effect) / table.y.std())
        widths.append(2 * 1.96 * error / table.y.std())
    covered = np.array(errors) <= np.array(widths) / 2
    ratio = beside["error"].mean() / np.mean(errors)
    return [
        *figures,
        number("real covariates", "mean error / AIPW's, boosted trees", ratio, count=len(beside)),
        median("real covariates", "width / AIPW's, boosted trees", beside["width"] / widths),
        share("real covariates", "coverage of AIPW, boosted trees", covered),
    ], frame


def cluster_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Clusters with treatment and covariates of the cluster, beside the means of the clusters."""
    samples = [clustered_sample(index, plan.seed) for index in range(plan.clusters)]
    named = estimate((s.rows[:3] for s in tqdm(samples, "clusters")), cluster=samples[0].cluster)
    averaged = estimate(s.means[:3] for s in samples)
    rows = []
    for part, results in (("clusters", named), ("cluster means", averaged)):
        for index, (sample, result) in enumerate(zip(samples, results, strict=True)):
            row = record(result, sample.rows.effect, sample.rows.y.std())
            rows.append({"part": part, "table": index, "family": part, **row})
    frame = pd.DataFrame(rows)
    rmse = {
        part: float(np.sqrt(np.mean((group["value"] - group["truth"]) ** 2))) for part, group in frame.groupby("part")
    }
    own = frame[frame["part"] == "clusters"]
    errors = own["standard_error"].astype(float)
    label = f"{CLUSTERS} clusters of 4: mean standard error / RMSE"
    return [
        number("clusters", label, errors.mean() / rmse["clusters"], (0.85, 1.25), len(own)),
        share("clusters", "coverage", own["covered"], (0.92, 0.98)),
        number(
            "clusters", "RMSE / that on cluster means", rmse["clusters"] / rmse["cluster means"], at_most(1.1), len(own)
        ),
        number("clusters", "RMSE", rmse["clusters"], count=len(own)),
    ], frame


def doubled_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Every row twice at half the weight, pairs named."""
    found = [doubled(index, plan.seed) for index in tqdm(range(plan.doubled), "doubled rows")]
    frame = pd.DataFrame(found)
    figures = []
    for name, values in frame.items():
        bound = 1e-2 if "jitter" in str(name) else 1e-6
        figures.append(number("doubled rows", f"largest change of {name}", values.max(), at_most(bound), len(values)))
    return figures, pd.DataFrame()


def group_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Equality of groups, some of them thin, where there is no effect."""
    p = np.array(list(equality_p_values(plan.groups, plan.seed)))
    return [share("thin groups", "equal effects rejected at 5 %", p[np.isfinite(p)] < 0.05, at_most(0.07))], (
        pd.DataFrame()
    )


def published_part(plan: Plan) -> tuple[list[Figure], pd.DataFrame]:
    """Published tables, and the ones on PSID controls that are hard."""
    if plan.data is None:
        return [], pd.DataFrame()
    rows = []
    for name in (*COLLECTIONS, PSID[1]):
        found = list(realisations(plan.data, name))
        results = estimate((x, t, y) for x, t, y, _ in tqdm(found, name))
        for index, ((_, _, y, truth), result) in enumerate(zip(found, results, strict=True)):
            row = record(result, truth["ate"], y.std())
            rows.append({"part": "published", "table": f"{name} {index}", "family": name, **row})
    frame = pd.DataFrame(rows)
    psid = frame[frame["family"].isin(PSID)]
    worst = psid["error"].max()
    far = share("PSID", "errors above .3 sd(Y)", psid["error"] > 0.3, at_most(0.0))
    figures = [
        far,
        number("PSID", "95th percentile of the error", psid["error"].quantile(0.95), at_most(0.2), len(psid)),
        number("PSID", "largest error", worst, count=len(psid)),
        share("PSID", "coverage", psid["covered"], at_least(0.92)),
        median("PSID", "median width / sd(Y)", psid["width"]),
    ]
    return figures + _beside_classical(frame), frame


def _beside_classical(frame: pd.DataFrame) -> list[Figure]:
    """Mean errors by collection, their geometric mean, and the largest ratio to the best classical method."""
    recorded = pd.read_csv(CLASSICAL, index_col=0)
    classical = recorded.loc[[name for name in recorded.index if not name.startswith("checkpoint")]]
    figures, errors, ratios = [], [], []
    for name in COLLECTIONS:
        own, best = frame.loc[frame["family"] == name, "error"], float(classical[name].min())
        figures.append(mean("published", f"{name}: MAE / sd(Y) (best classical {best:.3f})", own))
        errors.append(own.mean())
        ratios.append(max(FLOOR, own.mean()) / max(FLOOR, best))
    figures.append(number("published", "geometric mean", np.exp(np.log(errors).mean()), at_most(0.027)))
    place = COLLECTIONS[int(np.argmax(ratios))]
    figures.append(number("published", f"worst ratio to the best classical: {place}", max(ratios), at_most(1.25)))
    return figures


PARTS: dict[str, Part] = {
    "clusters": cluster_part,
    "doubled": doubled_part,
    "published": published_part,
    "foreign": foreign_part,
    "real": real_part,
    "groups": group_part,
    "noise": noise_part,
}


def compared(before: pd.DataFrame, after: pd.DataFrame) -> list[Figure]:
    """Print the price against another version's tables, and give the figure that has a goal."""
    found = price(before, after)
    print(f"\nagainst the earlier tables, by family\n{found.round(3).to_string(index=False)}")
    real = found.loc[(found["part"] == "real") & (found["family"] == "all")]
    return [
        number("real covariates", "median width / earlier", row["width ratio"], at_most(1.15), int(row["tables"]))
        for _, row in real.iterrows()
    ]


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line."""
    parser.add_argument("--data", type=Path, help="folder of the published tables")
    parser.add_argument("--quick", action="store_true", help="a fifth of the tables")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts alone")
    parser.add_argument("--foreign-tables", type=int, help="400 by default")
    parser.add_argument("--real-tables", type=int, help="200 by default")
    parser.add_argument("--seed", type=int, default=0, help="other tables of all parts")
    parser.add_argument("--threads", type=int, default=2, help="tables estimated at a time")
    parser.add_argument("--tables", type=Path, help="write what was found on each table here, as CSV")
    parser.add_argument("--compare", type=Path, help="such a file of another version, for the price")
    parser.add_argument("--csv", type=Path, help="write the figures here too")
    return parser.parse_args()


def main() -> int:
    """Print the figures beside their goals."""
    arguments = arguments_of(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    )
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    share_of = 5 if arguments.quick else 1
    plan = Plan(
        foreign=arguments.foreign_tables or 400 // share_of,
        real=arguments.real_tables or 200 // share_of,
        noise=120 // share_of,
        clusters=200 // share_of,
        groups=200 // share_of,
        doubled=8 if share_of == 1 else 4,
        seed=arguments.seed,
        data=arguments.data,
    )
    found = [PARTS[name](plan) for name in arguments.only]
    figures = [figure for part, _ in found for figure in part]
    frame = pd.concat([frame for _, frame in found])
    if arguments.tables:
        frame.to_csv(arguments.tables, index=False)
    if arguments.compare:
        figures += compared(pd.read_csv(arguments.compare, dtype={"table": str}), frame.astype({"table": str}))
    print("\n" + "\n".join(map(str, figures)))
    if arguments.csv:
        pd.DataFrame([vars(figure) for figure in figures]).to_csv(arguments.csv, index=False, float_format="%.4g")
    return int(any(figure.met is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
