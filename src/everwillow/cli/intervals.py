"""Asymmetric intervals of the parameters that ``--minos`` names."""

from collections.abc import Mapping, Sequence
from typing import Any

from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.engine.names import meant_elements
from everwillow.fitting import FitResult
from everwillow.profile.minos_intervals import MinosResult, minos
from everwillow.workflows.templates.fit_options import COMMA


def find_intervals(
    best: WorkspaceFit,
    result: FitResult,
    texts: Sequence[str],
    fixed: Mapping[Any, Any],
) -> MinosResult:
    """Find the intervals of parameters in a fit.

    Args:
        best: The fit of the command.
        result: The fit whose intervals are found, this one or another.
        texts: Names or patterns, several with commas; an empty text is the parameter
            of interest.
        fixed: What is fixed in `result`.

    Raises:
        UnknownKeyError: If a name or pattern matches no parameter.
        ArgumentValueError: If the parameter of interest is asked for, and there is
            none.
    """
    layout = result.layout
    patterns = [
        name.strip()
        for text in texts
        for name in (COMMA.split(text) if text.strip() else [best.given.poi()])
        if name.strip()
    ]
    marks = [meant_elements(name, layout, where="names").marks for name in patterns]
    names = [layout.labels[i] for i in result.free if any(one[i] for one in marks)]
    with best.timed("intervals", "Searching the intervals"):
        # Names of which none is free make the error of the function.
        return minos(best.given.model, result, names=names or patterns, fixed=fixed)
