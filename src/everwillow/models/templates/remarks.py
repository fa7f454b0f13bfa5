"""Remarks of a model on unused inputs, fixed signals and idle systematics."""

import jax.numpy as jnp
import numpy as np

from everwillow.likelihood.data_terms import (
    AbstractDataTerm,
    CovarianceTerm,
    PoissonTerm,
)
from everwillow.likelihood.templates.arrays import TemplateArrays
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.rates.base import AbstractParameterModel, rates_of


MOST = 50
"""How many names, or sentences of one kind, are written out."""


def unused(spec: TemplateSpec, term: AbstractDataTerm) -> tuple[str, ...]:
    """Return remarks on data and variances that the likelihood does not use.

    Args:
        spec: The template fit.
        term: The likelihood of the data.
    """
    joint = isinstance(term, CovarianceTerm)
    covariance = spec.observed_covariance is not None
    out = []
    needs = not isinstance(term, PoissonTerm)
    if needs and spec.observed_variance is None and not (joint and covariance):
        needed = "add_data_covariance, or " if joint else ""
        out.append(
            "The data have no variances, so that the counts are taken for them. Give "
            f"{needed}add_data(..., variances=...)."
        )
    if covariance and not joint:
        out.append(
            "The covariance of the data is not used, nor are systematics in it: that "
            "takes likelihood='covariance'."
        )
    replaced = (joint and covariance) or isinstance(term, PoissonTerm)
    if replaced and spec.observed_variance is not None:
        instead = "covariance" if joint else "counts"
        out.append(
            f"The variances of the data are not used, but their {instead}: that takes "
            "likelihood='chi2'."
        )
    return tuple(out)


def held(spec: TemplateSpec, rate_model: AbstractParameterModel) -> tuple[str, ...]:
    """Return remarks on signals that no parameter scales.

    Args:
        spec: The template fit.
        rate_model: The rates that multiply the templates.
    """
    known = rate_model.parameters()
    signals = [name for name in spec.signals if name not in known]
    if not signals or not known:
        return ()
    start = np.array([float(entry.start) for entry in known.values()])
    before, after = (
        np.asarray(rates_of(rate_model, jnp.asarray(values)))
        for values in (start, 1.1 * start + 0.1)
    )
    return tuple(
        f"{name!r} is a signal without a parameter here: it is held where it is. To "
        f"fit it, put 'Strengths {name}; ' before the other parameters."
        for name in signals
        if np.array_equal(*(v[spec.layout.process(name)] for v in (before, after)))
    )


def idle(spec: TemplateSpec, arrays: TemplateArrays) -> tuple[str, ...]:
    """Return remarks on systematics without effect, in units of a nominal rate of 0.

    Args:
        spec: The template fit.
        arrays: The templates of the fitted bins.
    """
    if arrays.baseline is None:
        return ()
    filled = np.asarray(arrays.nominal) != 0
    process, size = np.asarray(arrays.process), len(spec.layout.processes)
    there, alive = (
        np.bincount(process[where], minlength=size)
        for where in (filled, filled & (np.asarray(arrays.baseline) != 0))
    )
    moved = np.unique(spec.templates.process[spec.responses.row])
    names = [spec.layout.processes[p] for p in moved if there[p] and not alive[p]]
    if not names:
        return ()
    return (
        f"Systematics of process {listed(list(map(repr, names)))} do nothing: they "
        "are added in units of the rate at the start values, which is 0. Choose other "
        "start values, with_starts(...).",
    )


def listed(names: list[str]) -> str:
    """Return the first `MOST` names, separated by commas."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


__all__ = ["MOST", "held", "idle", "listed", "unused"]
