"""How the documentation is built: `make docs`. Nothing here, and nothing in the pages, needs the network."""

import sys
from pathlib import Path

import unstir

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "unstir"
author = "the unstir developers"
project_copyright = "the unstir developers; Apache 2.0"
version = release = unstir.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "mathml", "plain_docstrings", "catalogue_tables", "rooms"]
exclude_patterns = ["_build", "jupyter_execute"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the changelog, included, begins below its page's title

# formulas become MathML while the pages are built, so that no script has to be fetched to read them
html_math_renderer = "mathml"

# pages with code are run as they are built; a cell that raises stops the build
nb_execution_mode = "auto"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # no page has widgets, and their scripts would come from elsewhere

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "ignore-module-all": True}
python_maximum_signature_line_length = 90
add_module_names = False
toc_object_entries_show_parents = "hide"

# names of other libraries in signatures lead nowhere; those of unstir in the pages must
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!unstir\.).*"), ("py:class", r"unstir\.physics\.units\.Decorated")]

html_theme = "pydata_sphinx_theme"
html_title = "unstir"
html_static_path = ["_static"]
html_css_files = ["unstir.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {page: [] for page in ("index", "tutorials/*", "equations", "design", "changelog")}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_nav_level": 2,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
}
