"""Mathematics as MathML, which browsers draw themselves: no script, no font and no network."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

#: Fractions of single characters without braces, whose digits docutils would read as one number.
SHORT_FRACTION = re.compile(r"(\\[dt]?frac)([0-9A-Za-z])([0-9A-Za-z])")
#: Braces and norms that docutils lets grow with whatever stands between them, as only ``\\left`` should.
GROWING = re.compile("<mo>([{}‖])</mo>")


def mathml(node, as_block=False):
    """MathML of a node's LaTeX."""
    text = SHORT_FRACTION.sub(r"\1{\2}{\3}", node.astext())
    return GROWING.sub(r'<mo stretchy="false">\1</mo>', tex2mathml(text, as_block=as_block))


def inline(writer, node):
    """Within a line."""
    writer.body.append(mathml(node))
    raise nodes.SkipNode


def block(writer, node):
    """On lines of its own."""
    writer.body.append(f'<div class="math-block">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
