"""What `make release-check` complains of, on small projects; that the page on installation says what holds."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
from check import PAGES, complaints  # noqa: E402

FILES = {
    "pyproject.toml": 'version = "1.2.3"\n',
    "CITATION.cff": "version: 1.2.3\ndate-released: 2026-01-31\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3 (2026-01-31)\n\n## 1.2.2 (2025-01-31)\n",
    "docs/installation.rst": "pip install dowhy_cina-1.2.3-py3-none-any.whl\n",
    "docs/_build/html/_static/documentation_options.js": "    VERSION: '1.2.3',\n",
    "dist/dowhy_cina-1.2.3.tar.gz": "",
    "dist/dowhy_cina-1.2.3-py3-none-any.whl": "",
    **{f"docs/_build/html/{page}.html": "" for page in PAGES},
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_nothing_is_wrong_where_all_agrees(project):
    assert complaints("1.2.3", root=project) == []
    assert complaints("1.2.3", "v1.2.3", project) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "tag"),
    [
        ("pyproject.toml", "1.2.3", "1.2.4", None),
        ("CITATION.cff", "1.2.3", "1.2.2", None),
        ("CITATION.cff", "2026-01-31", "2026-01-30", "v1.2.3"),
        ("CHANGELOG.md", "## 1.2.3 (2026-01-31)\n", "", None),
        ("CHANGELOG.md", "2026-01-31", "unreleased", "v1.2.3"),
        ("docs/installation.rst", "1.2.3", "1.2.2", None),
        ("docs/_build/html/_static/documentation_options.js", "1.2.3", "1.2.2", None),
    ],
)
def test_each_disagreement_is_named(project, name, old, new, tag):
    path = project / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    place = "docs/_build" if name.startswith("docs/_build") else path.name
    assert any(line.startswith(place) for line in complaints("1.2.3", tag, project))


@pytest.mark.parametrize("name", ["dist/dowhy_cina-1.2.3.tar.gz", "docs/_build/html/api.html"])
def test_what_is_missing_is_named(project, name):
    (project / name).unlink()
    assert len(complaints("1.2.3", root=project)) == 1


def test_a_tag_of_another_version_is_refused(project):
    assert complaints("1.2.3", "v1.2.4", project) == ["the tag: expected 'v1.2.3', got 'v1.2.4'"]


def pinned(package, old_python):
    """The release of a package in constraints.txt, on Python 3.10 or on a later one."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [line.split(" ; ") for line in lines if line.startswith(f"{package}==")]
    (found,) = [parts[0] for parts in matches if len(parts) == 1 or (("<" in parts[1]) == old_python)]
    return found.removeprefix(f"{package}==")


def test_the_page_on_installation_names_the_versions_that_hold():
    page = (ROOT / "docs" / "installation.rst").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = re.findall(r"^(\w+) +(>=\S+) +([\d.]+) +([\d.]+)$", page, re.MULTILINE)
    assert {row[0] for row in rows} == {"dowhy", "torch", "numpy", "pandas", "scipy"}
    for package, supported, new, old in rows:
        assert f"{package}{supported}" in project["dependencies"]
        assert (new, old) == (pinned(package, False), pinned(package, True))
    for extra in ("plots", "dask", "parquet"):
        assert f"``dowhy-cina[{extra}]``" in page
    assert set(project["optional-dependencies"]) == {"plots", "dask", "parquet", "docs", "dev"}
