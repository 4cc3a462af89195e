"""Configuration of the documentation site: `make docs` builds it from what tools/site.py lays out."""

from __future__ import annotations

import os
from pathlib import Path

import tomllib
from sphinx.application import Sphinx

import santacoder
from santacoder._version import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = Path(santacoder.__file__).parent
#: The project's addresses, whose one place is pyproject.toml.
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})

project = "santacoder"
author = "The santacoder authors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_argparse_cli",
    "sphinx_copybutton",
    "sphinx_llms_txt",
]
root_doc = "index"
exclude_patterns = ["files"]
smartquotes_action = "D"  # dashes only: quotes in our docstrings are those of Python
default_role = "code"  # what `this` means in our docstrings
show_warning_types = True

myst_heading_anchors = 4  # the anchors are those of GitHub

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = "$ "  # of a console's block, the commands and not what they print

# The pages of the Python interface are made from docstrings, which programs read in the source itself.
llms_txt_code_files = [
    f"+:{PACKAGE / name}"
    for name in (
        "__init__.py", "model.py", "requests.py", "errors.py", "batching/infill_requests.py", "batching/session.py",
        "decoding/options.py", "decoding/results.py",
    )
]  # fmt: skip
llms_txt_code_base_path = str(PACKAGE.parent)
llms_txt_summary = "Runs the SantaCoder code model from a GGUF file on a CPU, with the same bits on every machine."

html_theme = "furo"
html_title = f"santacoder {version}"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL") or URLS.get("Documentation", "")
if not html_baseurl:
    llms_txt_uri_template = "_sources/{docname}.md.txt"  # from the folder of llms.txt itself
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = True
html_theme_options = {
    "top_of_page_buttons": [],
    "footer_icons": [
        {"name": name, "url": url, "html": name, "class": ""} for name, url in URLS.items() if name != "Documentation"
    ],
}

#: Of the classes of the package itself, those that callers make.
MADE_BY_CALLERS = {"santacoder.Limits", "santacoder.Request", "santacoder.SamplingOptions"}


def hide_signature(app: object, what: str, name: str, *_: object) -> tuple[str, None] | None:
    """Leave out the arguments of a class whose objects the library makes."""
    hidden = what == "class" and name.count(".") == 1 and name not in MADE_BY_CALLERS
    return ("", None) if hidden else None


def setup(app: Sphinx) -> None:
    """Connect to Sphinx."""
    app.connect("autodoc-process-signature", hide_signature)
