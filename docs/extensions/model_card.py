"""``.. checkpoints::``: what the headers of the bundled checkpoints say, read when the page is built."""

from math import prod

from docutils import nodes
from docutils.statemachine import StringList
from safetensors import safe_open
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from dowhy_cina.model import checkpoint

#: Words for what ``validation`` measures; what ends in ``_scaled`` is in attainable standard errors.
MEASURES = {
    "augmented": "default estimate",
    "weights_only": "weights to the target alone",
    "regression": "outcome regressions alone",
    "paper": "weights arm against arm alone",
}


def parameters(path):
    with safe_open(path, framework="np") as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def fields(name):
    """Pairs of a word and what the header says, without what it does not."""
    path, header = checkpoint.resolve(name), checkpoint.read_header(name)
    recipe, calibration = header.get("recipe") or {}, header.get("calibration") or {}
    yield "Size", f"{parameters(path):,} numbers, {path.stat().st_size / 1000:,.0f} kB"
    if header.get("families"):
        rows = f"{recipe['min_rows']:,} to {recipe['max_rows']:,} rows, up to {recipe['max_columns']} columns"
        families = ", ".join(f"``{family}``" for family in header["families"])
        yield "Trained on", f"simulated tables of {rows}: {families}"
    else:
        yield "Trained on", "nothing: the fixed rule, with intervals calibrated on simulated tables"
    if recipe.get("validation_families"):
        yield "Families kept out", ", ".join(f"``{family}``" for family in recipe["validation_families"])
    if "outcomes" in recipe:
        yield "Sees outcomes in training", "yes" if recipe["outcomes"] else "no"
    if header.get("tables"):
        yield (
            "Budget",
            (
                f"{header['steps']:,} steps, {header['tables']:,} tables, {header['seconds'] / 60:,.0f} minutes on "
                f"{recipe.get('device', 'cpu').upper()}, all parts together"
            ),
        )
    for part, words in (("inside", "Error on its own families"), ("outside", "Error on families kept out")):
        found = (header.get("validation") or {}).get(part) or {}
        shown = [f"{label} {found[key]:.3f}" for key, label in MEASURES.items() if key in found]
        if shown:
            yield words, "; ".join(shown) + " (sd of the outcome)"
        if "gap" in found:
            yield "Relative duality gap, " + part, f"{found['gap']:.4f}"
    if "coverage" in calibration:
        text = f"95 % intervals held {calibration['coverage']:.1%} of the effects"
        text += f" on {calibration['samples']:,} samples" if "samples" in calibration else ""
        rows = calibration.get("rows_coverage")
        yield "Calibration", text + (f", and those of single rows {rows:.1%}" if rows else "")
    yield "Licence", header.get("licence", "not said")
    yield "Format", f"{header['format_version']}, SHA-256 of the numbers ``{header['sha256'][:16]}``..."


class Checkpoints(SphinxDirective):
    """One section for each bundled checkpoint."""

    def run(self):
        lines = []
        for name in checkpoint.bundled():
            self.env.note_dependency(str(checkpoint.resolve(name)))
            lines += [name, "-" * len(name), "", ".. list-table::", "   :widths: 24 76", ""]
            for word, text in fields(name):
                lines += [f"   * - {word}", f"     - {text}"]
            lines += [""]
        container = nodes.section()
        container.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, self.get_source_info()[0]), container)
        return container.children


def setup(app):
    app.add_directive("checkpoints", Checkpoints)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
