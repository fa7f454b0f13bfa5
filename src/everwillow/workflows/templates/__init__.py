"""Template fits from files, with all their results.

The names below are imported when they are first used, so that the command line reads
its options without importing JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from everwillow.workflows.templates.analysis import run
    from everwillow.workflows.templates.files import load_results, write_results
    from everwillow.workflows.templates.parameters import parse_parameters
    from everwillow.workflows.templates.plots import input_figures, result_figures
    from everwillow.workflows.templates.regularisation import LCurve, l_curve
    from everwillow.workflows.templates.results import TemplateResults


_MODULES = {
    "LCurve": "regularisation",
    "TemplateResults": "results",
    "input_figures": "plots",
    "l_curve": "regularisation",
    "load_results": "files",
    "parse_parameters": "parameters",
    "result_figures": "plots",
    "run": "analysis",
    "write_results": "files",
}


def __getattr__(name: str) -> Any:
    """Import the module of a name when the name is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return all names, also those that are not imported yet."""
    return sorted({*globals(), *_MODULES})


__all__ = [
    "LCurve",
    "TemplateResults",
    "input_figures",
    "l_curve",
    "load_results",
    "parse_parameters",
    "result_figures",
    "run",
    "write_results",
]
