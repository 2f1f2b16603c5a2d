"""``.. markdown:: FILE``: a Markdown file of the project as a part of the page, without its title.

It knows what these files use: headings, paragraphs, lists, tables, fenced code, and code and links in a line.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

UNDERLINES = {2: "-", 3: "~", 4: "^"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"^\|.*\n\|[-|: ]+\|\n(?:\|.*\n)+", re.MULTILINE)
CODE = re.compile(r"(`[^`]+`)")
LINK = re.compile(r"\[([^\]]+)\]\((http[^)]+)\)")


def in_line(text):
    """Text with code and links as reStructuredText marks them."""
    parts = CODE.split(text)
    for place, part in enumerate(parts):
        if place % 2:
            after = parts[place + 1][:1]
            parts[place] = f"`{part}`" + ("\\ " if after.isalnum() else "")
        else:
            escaped = re.sub(r"([|\\]|_(?=\W|$))", r"\\\1", part)
            parts[place] = LINK.sub(r"`\1 <\2>`__", escaped)
    return "".join(parts)


def table(found):
    """A table as a list of lists."""
    head, _, *rows = (line.strip()[1:-1].split("|") for line in found[0].splitlines())
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        cells = [in_line(cell.strip()) for cell in row]
        lines += [f"   * - {cells[0]}", *(f"     - {cell}" for cell in cells[1:])]
    return "\n".join(lines) + "\n"


def restructured(text):
    """ReStructuredText of a Markdown file, without its title."""
    kept = []

    def keep(block):
        kept.append(block)
        return f"\n@{len(kept) - 1}@\n"

    code = "\n   "
    text = FENCE.sub(
        lambda found: keep(f".. code-block:: {found[1] or 'text'}\n\n   {code.join(found[2].splitlines())}\n"), text
    )
    text = TABLE.sub(lambda found: keep(table(found)), text)
    lines = []
    for line in in_line(text).splitlines():
        heading = re.match(r"(#+) (.*)", line)
        if heading is None:
            lines.append(line)
        elif len(heading[1]) > 1:
            lines += ["", heading[2], UNDERLINES[len(heading[1])] * len(heading[2]), ""]
    return re.sub(r"^@(\d+)@$", lambda found: kept[int(found[1])], "\n".join(lines), flags=re.MULTILINE)


class Markdown(SphinxDirective):
    """The file, parsed."""

    required_arguments = 1

    def run(self):
        path = Path(self.env.relfn2path(self.arguments[0])[1])
        self.env.note_dependency(str(path))
        lines = restructured(path.read_text(encoding="utf-8")).splitlines()
        container = nodes.section()
        container.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, str(path)), container)
        return container.children


def setup(app):
    app.add_directive("markdown", Markdown)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
