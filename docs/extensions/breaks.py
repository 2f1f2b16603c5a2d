"""Where long names may go on in the next line: after dots and underscores, in heads of tables and lists of names."""

import re

PLACES = re.compile(r"<th\b.*?</th>|<table class=\"autosummary.*?</table>", re.DOTALL)
TEXT = re.compile(r"(?<=>)[^<]+(?=<)")


def may_break(place):
    """The place with a mark after each dot and underscore within a name."""
    return TEXT.sub(lambda text: re.sub(r"([._])(?=[A-Za-z])", r"\1<wbr>", text[0]), place[0])


def insert(app, pagename, templatename, context, doctree):
    """Mark the places of a page."""
    if "body" in context:
        context["body"] = PLACES.sub(may_break, context["body"])


def setup(app):
    app.connect("html-page-context", insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
