"""Packing of the specification of a template fit into data, parameters and arrays."""

import functools as ft
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError, NameOnly, unknown_key
from everwillow._typing import Key
from everwillow.likelihood.barlow_beeston import BinStatistics, Kind
from everwillow.likelihood.data_terms import (
    AbstractDataTerm,
    CovarianceTerm,
    GaussianTerm,
    PoissonTerm,
)
from everwillow.likelihood.templates.arrays import Rows, pack_templates
from everwillow.likelihood.templates.blocks import pack_best
from everwillow.likelihood.templates.dense import pack_dense
from everwillow.likelihood.templates.lists import pack_lists
from everwillow.likelihood.templates.responses import AbstractResponses
from everwillow.likelihood.templates.spec import Responses, TemplateSpec
from everwillow.models._model_parts import separator
from everwillow.models.templates.checks import check_definite, check_possible
from everwillow.models.templates.likelihood.bins import Bins, fluctuating
from everwillow.models.templates.likelihood.external import External
from everwillow.models.templates.likelihood.flat import FlatTemplates, FreeStatistics
from everwillow.models.templates.rates.base import AbstractParameterModel
from everwillow.parameters import Interval, Normal, Poisson
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import ConstraintTable, TableLayout
from everwillow.statelib import State


# The key of the auxiliary parameters of the samples if they are fitted.
FREE = "bin_by_bin"

Constrained: TypeAlias = tuple[Float[np.ndarray, " n"], Normal | Poisson]
"""Start values of an array of parameters, and their constraint."""


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
        statistics, get_args(Kind), where="statistics", kind="kind of statistics"
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
            raise unknown_key(data, spec.pseudodata, where="data", kind="pseudodata")
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
    """Return the likelihood of the data.

    Args:
        spec: The template fit.
        likelihood: As in `from_spec`.
        counts: The counts of the fitted bins.
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
    raise unknown_key(likelihood, known, where="likelihood", kind="likelihood")


def check_names(spec: TemplateSpec, rate_model: AbstractParameterModel) -> None:
    """Check that there are parameters, and that their names differ.

    Raises:
        ArgumentValueError: If there are no parameters, or two of the same name.
    """
    names = (*rate_model.parameters(), *(s.name for s in spec.systematics))
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ArgumentValueError(
            f"parameters: {sorted(twice)} name both a parameter of the rates and a "
            "systematic. Rename the one or the other."
        )
    if not names:
        raise ArgumentValueError(
            "build: there is no parameter. Mark a process as signal, add a systematic "
            "or give {parameters}.",
            settings={"parameters": NameOnly},
        )


def free_statistics(statistics: BinStatistics) -> Constrained:
    """Return the auxiliary parameters β of the samples as fitted parameters."""
    spread = np.asarray(statistics.spread).ravel()[fluctuating(statistics)]
    one = np.ones_like(spread)
    match statistics.kind:
        case "gamma":
            return one, Poisson(1 / spread)
        case "normal":
            return one, Normal(one, np.sqrt(spread))
        case _:
            return 0 * one, Normal(0 * one, one)


def parameters_of(
    spec: TemplateSpec, rate_model: AbstractParameterModel, free: Constrained | None
) -> tuple[State, BoundTable, ConstraintTable]:
    """Return start values, bounds and constraints of all parameters.

    Args:
        spec: The template fit.
        rate_model: The rates that multiply the templates.
        free: The auxiliary parameters of the samples, if they are fitted.

    Raises:
        ArgumentValueError: If another parameter has the name of the latter.
    """
    entries = dict(rate_model.parameters())
    starts: dict[str, Any] = {name: entry.start for name, entry in entries.items()}
    starts |= {s.name: 0.0 for s in spec.systematics}
    constraints: dict[Key, Normal | Poisson] = {
        s.name: Normal(0.0, 1.0) for s in spec.systematics if s.constrained
    }
    for name, entry in entries.items():
        if entry.width is not None:
            constraints[name] = Normal(entry.start, entry.width)
    if free is not None:
        if FREE in starts:
            raise ArgumentValueError(
                f"profile: a parameter is called {FREE!r} already. Rename it."
            )
        starts[FREE], constraints[FREE] = free
    state = State.from_pytree(starts, sep=separator(starts))
    shapes: dict[Key, tuple[int, ...]] = {
        str(key): np.shape(value) for key, value in state.items()
    }
    intervals = {name: Interval(e.lower, e.upper) for name, e in entries.items()}
    bounds = BoundTable.of(intervals, shapes)
    return state, bounds, ConstraintTable.of(constraints, shapes)


def pack_bins(
    spec: TemplateSpec,
    rate_model: AbstractParameterModel,
    kind: Kind | None,
    *,
    per_process: bool,
    likelihood: str,
) -> tuple[Bins, Bins | None]:
    """Return the arrays of the fitted bins and of the masked ones, None without any.

    Args:
        spec: The template fit.
        rate_model: The rates that multiply the templates.
        kind: The constraint of the simulated samples.
        per_process: Whether each process of a bin fluctuates independently.
        likelihood: The likelihood of the data, as in `from_spec`.
    """
    baseline = None
    if spec.systematic_type == "normal":
        starts = {
            name: jnp.asarray(entry.start)
            for name, entry in rate_model.parameters().items()
        }
        baseline = np.asarray(rate_model.rates(starts))

    def packed(bins: slice) -> Bins:
        arrays, rows = pack_templates(
            spec.templates,
            spec.responses,
            bins,
            processes=len(spec.layout.processes),
            baseline=baseline,
            pack=_packer(spec, bins, likelihood),
        )
        return Bins(arrays, _bin_statistics(spec, rows, kind, per_process=per_process))

    fitted, every = spec.layout.fitted, spec.layout.bins
    masked = packed(slice(fitted, every)) if fitted < every else None
    return packed(slice(0, fitted)), masked


def flat_templates(
    spec: TemplateSpec,
    rate_model: AbstractParameterModel,
    fitted: Bins,
    term: AbstractDataTerm,
    state: State,
    constraints: ConstraintTable,
) -> FlatTemplates:
    """Return the likelihood of vectors, for parameters in the order of a State.

    Args:
        spec: The template fit.
        rate_model: The rates that multiply the templates.
        fitted: The fitted bins.
        term: The likelihood of the data.
        state: The parameters; with `FREE` among them the samples are not profiled.
        constraints: Their constraints.
    """
    whole = TableLayout.of({str(key): np.shape(v) for key, v in state.items()})
    free = None
    if FREE in state:
        which = fluctuating(fitted.statistics).tobytes()
        free = FreeStatistics(_places([FREE], whole), which)
    return FlatTemplates(
        arrays=fitted.arrays,
        statistics=fitted.statistics,
        term=term,
        rate_model=rate_model,
        external=_external(spec, whole),
        size=sum(whole.sizes),
        rate_bytes=_places(rate_model.parameters(), whole),
        systematic_bytes=_places([s.name for s in spec.systematics], whole),
        constrained_bytes=_places(
            [key for key, _, _ in constraints.layout.entries], whole
        ),
        free=free,
    )


def _packer(
    spec: TemplateSpec, bins: slice, likelihood: str
) -> Callable[[Responses, Rows], AbstractResponses]:
    """Return the function that packs the responses of some bins."""
    if spec.sparse:
        return pack_lists
    if likelihood == "covariance":
        # The covariance of the data couples all bins, so that there are no blocks.
        return pack_dense
    starts = [spec.layout.bins_of(c.name).start for c in spec.layout.channels]
    inside = [start for start in starts if bins.start <= start < bins.stop]
    edges = np.array([*inside, bins.stop]) - bins.start
    return ft.partial(pack_best, edges=edges)


def _bin_statistics(
    spec: TemplateSpec, rows: Rows, kind: Kind | None, *, per_process: bool
) -> BinStatistics:
    nominal = rows.spread(spec.templates.nominal)
    variance = rows.spread(spec.templates.variance)
    follows = variance > 0
    moving = np.where(follows, nominal, 0)
    if not per_process:
        moving = moving.sum(1, keepdims=True)
        variance = variance.sum(1, keepdims=True)
    loose = variance > 0
    if kind == "additive":
        # Additive fluctuations do not need a nominal yield.
        spread = np.sqrt(variance)
    else:
        loose = loose & (moving != 0)
        spread = np.where(loose, variance / np.where(loose, moving, 1) ** 2, 0)
    return BinStatistics(kind, per_process, follows & loose, spread)


def _external(spec: TemplateSpec, whole: TableLayout) -> External | None:
    if not spec.external:
        return None
    names = sorted({name for term in spec.external for name in term.parameters})
    known = whole.keys()
    gradient, hessian = np.zeros(len(names)), np.zeros((len(names), len(names)))
    for term in spec.external:
        for name in term.parameters:
            if name not in known:
                raise unknown_key(name, known, where=f"external term {term.name!r}")
        where = np.array([names.index(name) for name in term.parameters])
        np.add.at(gradient, where, term.gradient)
        np.add.at(hessian, np.ix_(where, where), term.hessian)
    return External(_places(names, whole), gradient, hessian)


def _places(names: Iterable[Key], whole: TableLayout) -> bytes:
    """Return the positions of the elements of parameters in the vector."""
    elements = whole.elements()
    places = [np.ravel(elements[str(name)]) for name in names]
    return np.concatenate([np.zeros(0), *places]).astype(np.int32).tobytes()


__all__ = [
    "FREE",
    "check_names",
    "counts_of",
    "data_term",
    "flat_templates",
    "free_statistics",
    "pack_bins",
    "parameters_of",
    "statistics_kind",
]
