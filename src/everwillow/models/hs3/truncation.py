"""Where ROOT normalises a constraint over less than all values of what it observes."""

from collections.abc import Iterable

import numpy as np

from everwillow.likelihood.binned.spec import ParameterSpec
from everwillow.models.hs3.auxiliary import GAUSSIAN, Names
from everwillow.models.hs3.document import Document


_FAR = 4.75  # standard deviations; what is beyond changes -ln L by less than 1e-6


def report_truncated(
    document: Document, names: Names, parameters: Iterable[ParameterSpec]
) -> None:
    """Report Gaussian constraints that ROOT truncates.

    ROOT divides by the integral over the range of the global observable. That is no
    part of the measurement, and depends on how far its author let a plot go; here the
    density is normalised over all values. The difference matters where the parameter
    can come near an end of that range.
    """
    if not document.from_root:
        return
    free = {p.name: p for p in parameters if p.constraint and not np.all(p.fixed)}
    for node in document.distributions.values():
        if node.value.get("type") not in GAUSSIAN:
            continue
        x, mean = node.value.get("x"), node.value.get("mean")
        for observed, name in ((x, mean), (mean, x)):
            if not isinstance(observed, str) or name not in free:
                continue
            span = names.selection.bounds.get(observed)
            if span is None or names.observed(observed) is None:
                continue
            if _near(free[name], span):
                document.report.collect(
                    "ROOT normalises the constraints of {names} over the ranges of "
                    "their global observables; here they are normalised over all "
                    "values, so that -ln L differs from that of ROOT where these "
                    "parameters are near an end of such a range.",
                    name,
                )


def _near(parameter: ParameterSpec, span: tuple[float, float]) -> bool:
    """Return whether the parameter comes close to an end of the range."""
    assert parameter.constraint is not None
    below = np.min(parameter.lower) - span[0]
    above = span[1] - np.max(parameter.upper)
    return bool(min(below, above) < _FAR * np.min(parameter.constraint.width))
