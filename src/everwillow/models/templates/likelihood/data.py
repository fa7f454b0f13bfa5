"""The data of a template fit, and how they enter its likelihood."""

from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.likelihood.barlow_beeston import Kind
from everwillow.likelihood.data_terms import (
    AbstractDataTerm,
    CovarianceTerm,
    GaussianTerm,
    PoissonTerm,
)
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.checks import check_definite, check_possible


def statistics_kind(
    statistics: str | None, likelihood: str, *, per_process: bool
) -> Kind | None:
    """Return the constraint of the simulated samples; arguments as in `from_spec`.

    Raises:
        ArgumentValueError: If it has no closed form with this likelihood.
        UnknownKeyError: If there is no such constraint.
    """
    if statistics == "default":
        if likelihood == "covariance":
            return "additive"
        return "normal" if per_process else "gamma"
    if statistics is None or statistics in get_args(Kind):
        if statistics == "gamma" and likelihood == "covariance":
            raise ArgumentValueError(
                "statistics: 'gamma' has no closed form with a covariance of the data. "
                "Use 'normal' or 'additive'."
            )
        return statistics  # pyright: ignore[reportReturnType]
    raise unknown_key(
        statistics, get_args(Kind), where="statistics", what="kind of statistics"
    )


def counts_of(spec: TemplateSpec, data: Any) -> Float[np.ndarray, " fitted"]:
    """Return the counts of the fitted bins.

    Args:
        spec: The template fit.
        data: The name of pseudodata, or counts; None for the data of `spec`.

    Raises:
        ArgumentValueError: If there are not finite counts for every fitted bin.
        UnknownKeyError: If there are no such pseudodata.
    """
    if isinstance(data, str):
        if data not in spec.pseudodata:
            raise unknown_key(data, spec.pseudodata, where="data", what="pseudodata")
        counts = np.asarray(spec.pseudodata[data], float)
    else:
        counts = np.asarray(spec.observed if data is None else data, float)
    if counts.shape != (spec.layout.fitted,):
        raise ArgumentValueError(
            f"data: expected {spec.layout.fitted} bins, got shape {counts.shape}."
        )
    if not np.all(np.isfinite(counts)):
        missing = [
            c.name
            for c in spec.layout.channels
            if not c.masked
            and not np.all(np.isfinite(counts[spec.layout.bins_of(c.name)]))
        ]
        raise ArgumentValueError(
            f"data: no finite data for the channels {missing}. Use add_data, or mark "
            "the channel as masked, or give counts as data=. Asimov data are those of "
            "everwillow.workflows.templates.run(spec, data='asimov')."
        )
    return counts


def data_term(
    spec: TemplateSpec, likelihood: str, counts: np.ndarray, kind: Kind | None
) -> AbstractDataTerm:
    """Return how the data enter.

    Args:
        spec: The template fit.
        likelihood: As in `from_spec`.
        counts: Of the fitted bins.
        kind: The constraint of the simulated samples.

    Raises:
        ArgumentValueError: If data or their variances do not suit the likelihood.
        UnknownKeyError: If there is no such likelihood.
    """
    if likelihood == "poisson":
        if np.any(counts < 0):
            raise ArgumentValueError(
                f"data: bin {int(np.argmin(counts))} has {counts.min()} events. Counts "
                "are not negative; use {likelihood} for subtracted data.",
                settings={"likelihood": "chi2"},
            )
        check_possible(spec, counts, additive=kind == "additive")
        return PoissonTerm()
    if likelihood == "chi2":
        given = spec.observed_variance
        variance = counts if given is None else given
        if np.any(~(variance > 0)):
            raise ArgumentValueError(
                f"data: bin {int(np.argmin(variance))} has variance {variance.min()}, "
                "and chi2 needs positive ones. Give them: add_data(..., variances=...)."
            )
        return GaussianTerm(variance)
    if likelihood == "covariance":
        matrix = spec.observed_covariance
        if matrix is None:
            variance = spec.observed_variance
            matrix = np.diag(counts if variance is None else variance)
        check_definite(matrix)
        return CovarianceTerm(matrix)
    known = ("poisson", "chi2", "covariance")
    raise unknown_key(likelihood, known, where="likelihood", what="likelihood")


__all__ = ["counts_of", "data_term", "statistics_kind"]
