"""What the documentation makes of mathematics and of the checkpoints' headers."""

import re
import sys
from pathlib import Path

import pytest

from dowhy_cina.model.checkpoint import bundled

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "extensions"))


@pytest.mark.parametrize(
    ("latex", "parts"),
    [(r"\tfrac12 \| a \|", ["<mn>1</mn>", "<mn>2</mn>"]), (r"\frac1G", ["<mn>1</mn>", "<mi>G</mi>"])],
)
def test_short_fractions_have_two_parts(latex, parts):
    from docutils import nodes
    from mathml import mathml

    shown = mathml(nodes.math("", latex))
    fraction = shown.split("<mfrac")[1].split("</mfrac>")[0]
    assert [part for part in parts if part in fraction] == parts
    assert "<mo>‖</mo>" not in shown


def test_an_index_of_an_accented_letter_stands_beside_it():
    from docutils import nodes
    from mathml import mathml

    shown = "".join(mathml(nodes.math("", r"\hat\mu_1 - \sum_{i=1}^n \bar r_g")).split())
    for letter, index in (("<mi>μ</mi>", "<mn>1</mn>"), ("<mi>r</mi>", "<mi>g</mi>")):
        assert re.search(rf'<msub><moveraccent="true">{letter}<mo[^>]*>.</mo></mover>{index}</msub>', shown)
    assert shown.count("<munderover>") == 1  # the limits of the sum


@pytest.mark.parametrize("name", bundled())
def test_model_card_says_what_it_was_trained_on(name):
    from model_card import fields

    card = dict(fields(name))
    assert {"Size", "Trained on", "Licence", "Format"} <= set(card)
    assert "Budget" in card or "nothing" in card["Trained on"]
