"""Settings of the site. `make site` copies this folder to build/site-source and adds the made pages."""

project = "Deep learning, solved"
author = "The coursework authors"
copyright = "The coursework authors, MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
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
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "Deep learning, solved"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
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
