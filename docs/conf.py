"""How Sphinx builds the documentation: `make docs`, warnings being errors."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for tables.py

_INIT = Path(__file__).parent.parent / "src" / "geocamnet" / "__init__.py"

project = "GeoCAMNet"
author = "The GeoCAMNet developers"
project_copyright = author
version = release = re.findall(r'__version__ = "(.+)"', _INIT.read_text(encoding="utf-8"))[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "tables"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
default_role = "code"  # docstrings write `names` as Markdown does

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"GeoCAMNet {release}"
html_show_sourcelink = False


def _plain_signature(app, what, name, obj, options, signature, return_annotation):
    # A default made by a factory can't be parsed, so that Sphinx would show the names of types as it writes them.
    short = [re.sub(r"~(?:\w+\.)+", "", one) if one else one for one in (signature, return_annotation)]
    return short[0].replace("<factory>", "...") if short[0] else short[0], short[1]


def setup(app):
    app.connect("autodoc-process-signature", _plain_signature)
