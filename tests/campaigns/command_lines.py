"""Command lines that nobody should write, and some that are only unusual: each is answered, without a traceback."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Values of ``--set`` that no run can have.
SETTINGS = """
learning_rate=nan learning_rate=-1 learning_rate=inf learning_rate=1e400 learning_rate=x clip=0 clip=-1 clip=nan
seed=2**70 seed=1180591620717411303424 seed=-1 seed=1.5 seed=true steps=-1 steps=1e3 seconds=0 seconds=inf
average_decay=1 average_decay=nan weight_decay=-1 warmup_steps=0 min_rows=5 max_rows=10 max_columns=1 landmarks=1
tables_per_batch=0 batches_per_step=0 validation_every=0 validation_tables=1 validation_families=[] workers=-1
validation_families=[[1]] validation_families=["nobody"] validation_families="scm" device=gpu device=cuda:99
start=nowhere start="." gap_weight=nan gap_weight=-1 model.width=0 model.width=9 model.layers=1000000 model.heads=3
model.key_width=nan model.key_width=0 model.balance_ridge=-1 model.depth=3 collections.weight=0 =3 learning_rate
x.y.z=1 seed=[[[[[[ steps={a={a={}}} outcomes=1 patience=-1
"""
WEIGHTS = ("augmented_weight", "weights_only_weight", "regression_weight", "paper_weight", "gap_weight", "hinge_weight")
#: Places that no checkpoint can be written to.
OUTPUTS = ("", ".", "..", "m.csv", "m.state", "q.toml", "folder", "good.csv/x", "/dev/null", "/proc/x", "x" * 300)
#: ``collection.toml`` of a folder with a table.
COLLECTIONS = (
    "",
    "treatment = 3",
    'treatment = "nobody"',
    'treatment = "t"\ncovariates = ["t", "a"]',
    'treatment = "t"\ncovariates = [1, 2]',
    'treatment = "t"\ncovariates = ["a", "a"]',
    'treatment = "t"\noutcome = "t"',
    'treatment = "t"\noutcome = "y"\n[effects]\n"good.csv" = nan',
    'treatment = "t"\noutcome = "y"\n[effects]\n"good.csv" = inf',
    'treatment = "t"\noutcome = "y"\n[effects]\n"good.csv" = true',
    'treatment = "t"\noutcome = "y"\n[effects]\n"good.csv" = "1"',
    'treatment = "t"\n[effects]\n"good.csv" = 1.0',
    'treatment = "t"\ntreated = "7"\ncontrol = "8"',
    'treatment = "t"\ntreated = "1"\ncontrol = "1"',
    "treatment = [[[[",
    "x = " + "[" * 10_000,
    "x = " + "9" * 10_000,
    "\udcff",
)
#: Recipes that are none.
RECIPES = (
    "training = 3",
    "[training]\nseed = ",
    "collections = 3",
    "collections = [3]",
    "[[collections]]",
    '[[collections]]\nsimulators = [["scm"]]',
    '[[collections]]\nsimulators = ["scm"]\nweight = nan',
    '[[collections]]\npath = "nowhere"',
    "[other]\nx = 1",
    "x = " + "[" * 10_000,
    "x = " + "9" * 10_000,
)
#: Options of an estimate beside the table's name, its treatment and its outcome.
ESTIMATES = """
--treatment y|--outcome t|--outcome nobody|--treatment a|--covariates t|--covariates y|--covariates a,a|--covariates ,
--covariates nobody|--sample-weight a|--cluster t|--refine 0|--refine nan|--memory-limit 1|--memory-limit -1GB
--memory-limit 1e999GB|--confidence-level 1|--confidence-level nan|--checkpoint nowhere|--checkpoint good.csv
--device mars|--treatment-value 3|--treatment-value 1 --control-value 1|--graph nowhere.dot|--graph good.csv
--json folder|--json no/x/y|--target-units nobody|--plots good.csv
"""
#: Tables that are hard to read, or to estimate from.
TABLES = ("empty.csv", "header.csv", "binary.csv", "binary.parquet", "nan.csv", "one.csv", "folder", "nowhere.csv")
OTHERS = """
info nowhere|info good.csv|info folder|info --header good.csv|info binary.safetensors
evaluate cina-small nobody|evaluate cina-small additive --tables 0|evaluate cina-small additive --tables -1
evaluate cina-small additive --rows 1|evaluate cina-small additive --columns 0|evaluate nowhere additive
evaluate cina-small additive --seed -1 --tables 1 --rows 60|evaluate cina-small folder
evaluate cina-small additive --tables 1 --rows 60 --csv folder|benchmark --sizes 0|benchmark --rows 0
benchmark --rows -5|benchmark --columns 0 --rows 60 --repeats 1|benchmark --repeats 0|benchmark --tables 0
benchmark --conditional --families nobody|demo --output good.csv|refute good.csv ROLES --refuters nobody
refute good.csv ROLES --simulations 0|refute good.csv ROLES --simulations -1
refute good.csv ROLES --jobs 0 --simulations 2 --refuters placebo_treatment_refuter
refute good.csv ROLES --seed -1 --simulations 2 --refuters placebo_treatment_refuter
nobody|pretrain|pretrain nowhere.toml|pretrain folder|pretrain good.csv|pretrain q.toml --resume
"""
ROLES = "--treatment t --outcome y"


def write_tables(folder):
    """Write the tables that the commands read: ``good.csv``, and those in ``TABLES``."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
    frame["t"] = np.arange(80) % 2
    frame["y"] = frame["a"] + frame["t"]
    frame.to_csv(folder / "good.csv", index=False)
    (folder / "folder").mkdir()
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("a,t,y\n")
    for name in ("binary.csv", "binary.parquet", "binary.safetensors"):
        (folder / name).write_bytes(rng.bytes(500))
    frame.assign(y=np.nan).to_csv(folder / "nan.csv", index=False)
    frame.assign(t=1).to_csv(folder / "one.csv", index=False)


def command_lines(folder, recipe):
    """Command lines, run in a folder, in which their files are written."""
    (folder / "q.toml").write_text(recipe)
    lines = [line.replace("ROLES", ROLES).split() for line in OTHERS.strip().replace("\n", "|").split("|")]
    options = ESTIMATES.strip().replace("\n", "|").split("|")
    lines += [["estimate", "good.csv", *f"{ROLES} {option}".split()] for option in options]
    lines += [["estimate", table, *ROLES.split()] for table in TABLES]
    lines.append(["estimate", "good.csv", "--treatment", "t"])
    lines += [["pretrain", "q.toml", "--set", setting] for setting in SETTINGS.split()]
    lines.append(["pretrain", "q.toml", *(part for name in WEIGHTS for part in ("--set", f"{name}=0"))])
    lines += [["pretrain", "q.toml", "--set", "steps=1", "--output", output] for output in OUTPUTS]
    for number, text in enumerate((*COLLECTIONS, *RECIPES)):
        own = folder / f"recipe{number}.toml"
        if number < len(COLLECTIONS):
            place = folder / f"own{number}"
            place.mkdir()
            (place / "good.csv").write_bytes((folder / "good.csv").read_bytes())
            (place / "collection.toml").write_bytes(text.encode(errors="surrogateescape"))
            text = f'[[collections]]\npath = "{place.name}"'
        own.write_text(text)
        lines.append(["pretrain", own.name, "--set", "steps=1"])
    return lines
