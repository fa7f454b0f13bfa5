"""Template fits from files, with all their results.

The names below are imported when they are first used, so that the command line reads
its options without importing JAX.
"""

from typing import TYPE_CHECKING

from everwillow._lazy_names import lazy_names


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


__getattr__, __dir__ = lazy_names(__name__, _MODULES)


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
