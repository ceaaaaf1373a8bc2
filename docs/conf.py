"""Settings of the site. `make site` copies this folder to build/site-source and adds the made pages."""

import re

project = "Deep learning, solved"
author = "The coursework authors"
copyright = "The coursework authors, MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax from the package: a page fetches nothing from elsewhere
    "sphinx_copybutton",
]

# Notebooks are shown with the outputs that are stored in them, which are from the real data.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_merge_streams = True
nb_number_source_lines = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of torch refer to pages of its own site
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shapes"]
default_role = "code"  # single backticks in docstrings

pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme = "furo"
html_title = "Deep learning, solved"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#005a8e"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f5", "color-brand-content": "#7cc4f5"},
    "navigation_with_keys": True,
}

suppress_warnings = [
    "myst.header",  # a section of a notebook may start one level lower
    "mystnb.unknown_mime_type",
    "misc.highlighting_failure",  # outputs that are no program
    "autodoc.duplicate_object",
    "ref.python",
]


def _bars(app, what, name, obj, options, lines):
    """Absolute values: a docstring's |x| is no substitution of reStructuredText."""
    in_math = False
    for i, line in enumerate(lines):
        if line.strip().startswith(".. math::"):
            in_math = True
        elif line.strip() and not line.startswith(" "):
            in_math = False
        if not in_math:
            parts = re.split(r"(``.*?``|:[\w:]+:`.*?`)", line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", _bars, priority=100)  # before napoleon
