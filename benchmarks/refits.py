"""Whether refits with fewer landmarks have the law of refits with as many as the estimate.

    python benchmarks/refits.py [--tables 40] [--simulations 40] [--data FOLDER] [--csv FILE]

The same refits are estimated both ways, on simulated tables of 300 to 2,500 rows and, with a FOLDER as in tables.py, on
published ones. Printed for each refuter, over tables on which the numbers of landmarks differ: how far the means are
apart, in standard deviations of the refits, the ratio of the standard deviations, and the correlation.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from dowhy import CausalModel
from dowhy_cina.simulators import draw_table
from tables import realisations
from tqdm import tqdm

from dowhy_cina.adapter.refutation.refuters import REFUTERS
from dowhy_cina.adapter.refutation.tables import RefitSetting, read_setting
from dowhy_cina.calls.batch import values_encoded

PUBLISHED = ("ihdp", "lalonde_psid_realcause", "nsw_rct")


def simulated(count: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Tables of any family."""
    for seed in range(count):
        rng = np.random.default_rng([seed, 20])
        table = draw_table(rng, int(rng.integers(300, 2501)), int(rng.integers(2, 13)))
        yield table.covariates, table.treatment, table.outcome


def setting_of(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> RefitSetting:
    """What the battery draws refits from."""
    names = [f"x{column}" for column in range(x.shape[1])]
    frame = pd.DataFrame(x, columns=names).assign(treatment=t.astype(int), outcome=y)
    model = CausalModel(frame, "treatment", "outcome", common_causes=names)
    estimand = model.identify_effect()
    return read_setting(frame, estimand, model.estimate_effect(estimand, method_name="backdoor.cina"))


def compared(setting: RefitSetting, simulations: int) -> Iterator[dict[str, object]]:
    """Both ways of each refuter whose refits have fewer landmarks."""
    for refuter in REFUTERS:
        refits = refuter.plan(setting, simulations)
        most = refits.most_landmarks(setting.options, len(setting.table.rows))
        treated = int(setting.table.treatment.sum())
        if most is None or most >= setting.options.landmarks_for(len(setting.table.rows) - treated, treated):
            continue
        drawn = [setting.encode(refits.draw(k, np.random.default_rng(k))) for k in range(refits.count)]
        held = setting.held if refits.held else None
        full, few = (np.array(values_encoded(drawn, setting.options, held, bound)) for bound in (None, most))
        yield {
            "refits": refuter.name,
            "apart": abs(few.mean() - full.mean()) / full.std(),
            "ratio": few.std() / full.std(),
            "correlation": np.corrcoef(full, few)[0, 1],
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=40, help="simulated tables")
    parser.add_argument("--simulations", type=int, default=40)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    sources = {"simulated": list(simulated(arguments.tables))}
    if arguments.data:
        sources["published"] = [
            table[:3] for name in PUBLISHED for table in list(realisations(arguments.data, name))[:3]
        ]
    rows = [
        {"tables": source, **row}
        for source, tables in sources.items()
        for table in tqdm(tables, desc=source)
        for row in compared(setting_of(*table), arguments.simulations)
    ]
    groups = pd.DataFrame(rows).groupby(["refits", "tables"], sort=False)
    found = pd.DataFrame(
        {
            "tables compared": groups.size(),
            "means apart, in sd of the refits: median": groups.apart.median(),
            "90 % of tables": groups.apart.quantile(0.9),
            "ratio of sd: 10 %": groups.ratio.quantile(0.1),
            "90 %": groups.ratio.quantile(0.9),
            "correlation: median": groups.correlation.median(),
        }
    ).round(3)
    print(found.to_string())
    if arguments.csv:
        found.to_csv(arguments.csv)


if __name__ == "__main__":
    main()
