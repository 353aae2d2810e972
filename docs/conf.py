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

autodoc_typehints = "signature"  # not "description": that would confuse attributes and parameters of the same name
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    name: name for name in ("Array", "ArrayLike", "FloatArray", "MaybeCallback", "Observation", "PyTorchObs", "WarmUpFunction")
}
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"sb3-udrl {release}"
html_static_path = ["_static"]
copybutton_prompt_text = "$ "
