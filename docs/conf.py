"""How Sphinx builds these pages; every code cell is executed, and an error stops it."""

import hashlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import sys
import tempfile


# The kernels inherit this: the pages show what a CPU gives, and no kernel spends its
# start looking for other devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# What XLA logs of a program that compiles for long is no fault of a page.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_HERE = pathlib.Path(__file__).parent
profile = pathlib.Path(tempfile.mkdtemp(), "profile_default")
(profile / "startup").mkdir(parents=True)
shutil.copy(_HERE / "_extensions" / "kernel_startup.py", profile / "startup")
# Kernels of one build talk to it alone, so their notices of open ports say nothing.
(profile / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n')
os.environ["IPYTHONDIR"] = str(profile.parent)

project = "everwillow"
author = "The everwillow developers"
project_copyright = "The everwillow developers"
version = release = importlib.metadata.version("everwillow")

sys.path.append(str(_HERE / "_extensions"))
extensions = [
    "formulas",
    "functions_of",
    "offline",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_static", "examples"]

html_theme = "pydata_sphinx_theme"
html_title = "everwillow"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_end": ["version", "source", "theme-switcher"],
}
html_math_renderer = "katex"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
templates_path = ["_templates"]
html_show_sourcelink = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3


def _digest(folder: pathlib.Path) -> str:
    """Return a name for the content of the Python files of a folder."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


# A page is executed again when the page or the library has changed. The gate builds
# all of them anew, with `-D nb_execution_mode=force`.
_LIBRARY = _digest(_HERE.parent / "src")
nb_execution_mode = "cache"
nb_execution_cache_path = str(_HERE / "_build" / "executed" / _LIBRARY)
nb_execution_timeout = 300
nb_execution_raise_on_error = True
# Whatever a cell writes to stderr (a warning, say) is something to mend in the page.
nb_output_stderr = "remove-warn"
nb_merge_streams = True

# Docstrings put names between single backquotes, which link where that is possible.
default_role = "py:obj"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

# What an alias of `jaxtyping` says is lost when Python evaluates it: say it again.
_ALIASES = (
    (r"~?(jaxlib\._jax|jax\.jaxlib\._jax|jax)\.Array\b", "Array"),
    (
        r"Array \| ~?numpy\.ndarray \| ~?numpy\.bool \| ~?numpy\.number \| "
        r"bool \| int \| float \| complex",
        "ArrayLike",
    ),
)


def _shorten(text: str | None) -> str | None:
    for pattern, alias in _ALIASES:
        text = text and re.sub(pattern, alias, text)
    return text


def setup(app):
    """Give signatures the aliases that the source has."""
    app.connect(
        "autodoc-process-signature",
        lambda *args: (_shorten(args[5]), _shorten(args[6])),
    )
