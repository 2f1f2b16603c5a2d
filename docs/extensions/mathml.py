"""Mathematics as MathML, which browsers draw themselves: no script, no font and no network."""

import html
import re
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

#: Fractions of single characters without braces, whose digits docutils would read as one number.
SHORT_FRACTION = re.compile(r"(\\[dt]?frac)([0-9A-Za-z])([0-9A-Za-z])")
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", NAMESPACE)
#: What docutils writes for hat, bar, tilde, check, dot and vector.
ACCENTS = set("ˆˉ~\u02dcˇ˙→")
#: Braces and norms that docutils lets grow with whatever stands between them, as only ``\\left`` should.
GROWING = re.compile("<mo>([{}‖])</mo>")


def mathml(node, as_block=False):
    """MathML of a node's LaTeX."""
    text = SHORT_FRACTION.sub(r"\1{\2}{\3}", node.astext())
    shown = beside_accents(tex2mathml(text, as_block=as_block))
    return GROWING.sub(r'<mo stretchy="false">\1</mo>', shown)


def beside_accents(text):
    """Put an index beside its accented letter; docutils puts it below, as it does with the limits of a sum."""
    root = ElementTree.fromstring(re.sub(r"&(?!(?:lt|gt|amp);)\w+;", lambda found: html.unescape(found[0]), text))
    for part in root.iter(f"{{{NAMESPACE}}}munderover"):
        letter, index, accent = part
        if accent.text in ACCENTS:
            part.tag = f"{{{NAMESPACE}}}msub"
            over = ElementTree.Element(f"{{{NAMESPACE}}}mover", accent="true")
            over.extend((letter, accent))
            part[:] = [over, index]
    return ElementTree.tostring(root, encoding="unicode")


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
