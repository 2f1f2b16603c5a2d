"""What must agree before a release is made: versions, changelog, citation, archives, metadata, documentation.

``python tests/release/check.py`` after ``make wheel docs``; ``--tag v0.1.0`` asks for the dates of a release too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import dowhy_cina

ROOT = Path(__file__).resolve().parents[2]
HTML = ("docs", "_build", "html")
PAGES = ("index", "installation", "howto", "api", "changelog", "gallery/plot_getting_started")


def found(pattern: str, root: Path, *names: str) -> str:
    """What a pattern finds in a file; nothing if it or the file is not there."""
    path = root.joinpath(*names)
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
    return match[1] if match else ""


def complaints(version: str, tag: str | None = None, root: Path = ROOT) -> list[str]:
    """What does not agree with a version and, for a release, its tag; empty if all does."""
    date = found(r"^## \S+ \((.+)\)$", root, "CHANGELOG.md")
    agree = {
        "pyproject.toml": (found(r'^version = "(.+)"$', root, "pyproject.toml"), version),
        "CITATION.cff": (found(r"^version: (\S+)$", root, "CITATION.cff"), version),
        "CHANGELOG.md's first heading": (found(r"^## (\S+)", root, "CHANGELOG.md"), version),
        "installation.rst's wheel": (found(r"dowhy_cina-(.+)-py3", root, "docs", "installation.rst"), version),
        "docs/_build": (found(r"VERSION: '(.+)'", root, *HTML, "_static", "documentation_options.js"), version),
    }
    if tag is not None:
        agree["the tag"] = (tag, f"v{version}")
        agree["CITATION.cff's date-released"] = (found(r"^date-released: (\S+)$", root, "CITATION.cff"), date)
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
            agree["CHANGELOG.md's first date"] = (date, "a date as 2026-01-31")
    wrong = [f"{place}: expected {wanted!r}, got {got!r}" for place, (got, wanted) in agree.items() if got != wanted]
    names = [f"dowhy_cina-{version}.tar.gz", f"dowhy_cina-{version}-py3-none-any.whl"]
    archives = sorted(path.name for path in (root / "dist").glob("*"))
    if archives != sorted(names):
        wrong.append(f"dist: expected {sorted(names)}, got {archives}; make wheel builds them")
    pages = [page for page in PAGES if not root.joinpath(*HTML, f"{page}.html").exists()]
    return wrong + [f"docs/_build/html: expected {page}.html; make docs builds it" for page in pages]


def main() -> int:
    """Print what is wrong; the exit code is 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tag", help="of the release that is to be published, for example v0.1.0")
    wrong = complaints(dowhy_cina.__version__, parser.parse_args().tag)
    twine = [sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted((ROOT / "dist").glob("*")))]
    if subprocess.run(twine).returncode:
        wrong.append("dist: twine refuses the metadata, see above")
    for line in wrong:
        print(f"release-check: {line}", file=sys.stderr)
    if not wrong:
        print(f"dowhy-cina {dowhy_cina.__version__} could be released: versions, archives, metadata and pages agree.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
