"""Sphinx configuration; `make docs` builds with warnings as errors."""

import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]
os.environ.setdefault("MPLBACKEND", "Agg")
# summary() shows the former in the pages, without the builder's paths; the latter are DoWhy's, about pandas
for category in (UserWarning, FutureWarning):
    warnings.filterwarnings("ignore", category=category)

import dowhy_cina  # noqa: E402

project = "dowhy-cina"
author = "The dowhy-cina authors"
copyright = "2026, the dowhy-cina authors"
version = release = dowhy_cina.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "breaks",
    "markdown",
    "mathml",
    "model_card",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_math_renderer = "mathml"

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc sections name the types
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "order.StartFirst",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 0,
}

html_theme = "pydata_sphinx_theme"
html_title = f"dowhy-cina {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_sidebars = {"**": ["navigation"]}
html_theme_options = {
    "logo": {"text": f"dowhy-cina {release}"},
    "navbar_center": [],  # all pages stand at the left, so that the bar fits any width
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
