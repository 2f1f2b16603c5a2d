"""``dowhy-cina estimate``: the report's page, and what its JSON holds."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import cli
from dowhy_cina.adapter.refutation.refuters import NAMES
from dowhy_cina.cli.arguments import INTERRUPTED

#: Names that a page, a picture, a terminal or a formula could trip over.
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$\\frac{", "a\x1b[31m&amp;'", "l" * 5000]


class Page(HTMLParser):
    """Tags with their attributes, the text outside styles, and whether everything opened is closed."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, len(HOSTILE)))
    t = (rng.random(200) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    table = pd.DataFrame(x, columns=HOSTILE).assign(**{"<b>t</b>": t, "y$": x[:, 0] + t + rng.normal(size=200)})
    table.to_csv(folder / "<i>data.csv", index=False)
    given = ["estimate", str(folder / "<i>data.csv"), "--treatment", "<b>t</b>", "--outcome", "y$", "--target", "att"]
    given += ["--report", str(folder / "new" / "r.html"), "--simulations", "2", "--plots", str(folder / "pictures")]
    assert cli.main([*given, "--json", str(folder / "short.json")]) == 0
    assert cli.main([*given[:-6], "--json", str(folder / "long.json"), "--rows"]) == 0
    return folder


@pytest.fixture(scope="module")
def page(files):
    return Page((files / "new" / "r.html").read_text(encoding="utf-8"))


def test_the_page_has_every_part(page, files):
    found = json.loads((files / "short.json").read_text())
    low, high = found["confidence_interval"]
    assert page.open == []
    for part in ("Answer", "Interval", "Overlap", "Balance", "Weights", "Unmeasured common causes", "Refuters"):
        assert part in page.text
    assert f"{found['value']:.4g}" in page.text
    assert f"95 % interval {low:.4g} to {high:.4g}" in page.text
    assert f"overlap: {found['overlap']['grade']}" in page.text
    assert page.text.count("uninformative") + page.text.count("pass") + page.text.count("fail") >= len(NAMES) - 1
    assert "A pass proves nothing" in page.text


def test_the_page_loads_nothing_and_runs_nothing(page, files):
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in pictures)
    assert not {"script", "link", "iframe", "object", "b", "i"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    content = (files / "new" / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import", content)
    assert "default-src 'none'" in content
    assert "\x1b" not in content
    assert "l" * 100 not in content


def test_interrupted_the_page_has_what_was_finished(files, tmp_path, capsys, monkeypatch):
    """As `refute` does: it says what is missing, and so does the exit code."""
    from dowhy_cina.adapter.refutation import refits

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(refits, "_run_batch", interrupt)
    given = ["estimate", str(files / "<i>data.csv"), "--treatment", "<b>t</b>", "--outcome", "y$"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*given, "--report", str(tmp_path / "r.html"), "--simulations", "2"])
    assert stopped.value.code == INTERRUPTED
    told = "interrupted; not finished: random_common_cause"
    printed = capsys.readouterr().out
    assert told in printed
    assert f"wrote {tmp_path / 'r.html'}" in printed
    assert told in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text


def test_hostile_names_are_shown_as_text(page):
    assert "Effect of <b>t</b> on y$" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "<i>data.csv" in page.text


def test_json_holds_rows_on_demand_only(files):
    short, long = (json.loads((files / name).read_text()) for name in ("short.json", "long.json"))
    rows = {"weights", "propensity", "pseudo_outcomes", "control_scores", "target_weights", "treatment"}
    assert rows == set(long) - set(short)
    assert len(long["weights"]) == 200
    assert {name: long[name] for name in short} == short
    assert (files / "short.json").stat().st_size < 10_000


def test_output_of_hostile_names_keeps_to_its_lines(files, capsys):
    given = ["estimate", str(files / "<i>data.csv"), "--treatment", "<b>t</b>", "--outcome", "y$"]
    assert cli.main(given) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) < 250
