"""Configuration of the documentation site: `make docs` builds it from what tools/site.py lays out."""

from __future__ import annotations

from pathlib import Path

import tomllib

from santacoder._version import __version__

ROOT = Path(__file__).parents[1]
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
smartquotes = False  # quotes in our docstrings are those of Python
default_role = "code"  # what `this` means in our docstrings
show_warning_types = True

myst_heading_anchors = 4  # the anchors are those of GitHub

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = "$ "  # of a console's block, the commands and not what they print
copybutton_exclude = ".linenos, .gp"

llms_txt_summary = "Runs the SantaCoder code model from a GGUF file on a CPU, with the same bits on every machine."

html_theme = "furo"
html_title = f"santacoder {version}"
html_baseurl = URLS.get("Documentation", "")
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = True
html_theme_options = {
    "top_of_page_buttons": [],
    "footer_icons": [
        {"name": name, "url": url, "html": name, "class": ""} for name, url in URLS.items() if name != "Documentation"
    ],
}
