"""Configuration of Sphinx."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that the documentation is that of the working tree

import sb3_udrl

project = "sb3-udrl"
author = "The sb3-udrl authors"
copyright = "The sb3-udrl authors, MIT license"
release = version = sb3_udrl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"  # the types of what the docstrings name
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"sb3-udrl {release}"
html_static_path = ["_static"]
copybutton_prompt_text = "$ "
