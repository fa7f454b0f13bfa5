"""From the specification of a template fit to arrays."""

import functools as ft
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NameOnly,
    unknown_key,
)
from everwillow._typing import Key
from everwillow.likelihood.barlow_beeston import BinStatistics, Kind
from everwillow.likelihood.data_terms import (
    AbstractDataTerm,
    CovarianceTerm,
    GaussianTerm,
    PoissonTerm,
)
from everwillow.likelihood.histograms import Layout
from everwillow.likelihood.templates.arrays import (
    AbstractResponses,
    Rows,
    pack_dense,
    pack_templates,
)
from everwillow.likelihood.templates.blocks import pack_best
from everwillow.likelihood.templates.lists import pack_lists
from everwillow.likelihood.templates.spec import Responses, TemplateSpec
from everwillow.models._parameters import separator
from everwillow.models.templates.checks import check_definite, check_possible
from everwillow.models.templates.likelihood.bins import Bins, Links, links_of
from everwillow.models.templates.likelihood.external import External
from everwillow.models.templates.likelihood.flat import FlatTemplates, Free
from everwillow.models.templates.rates.base import (
    AbstractParameterModel,
    RateParameter,
    check_rates,
)
from everwillow.models.templates.rates.strengths import Strengths
from everwillow.parameters import Interval, Normal, Poisson
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import ConstraintTable, TableLayout
from everwillow.statelib import State


# The key of the auxiliary parameters of the samples where they are fitted.
FREE = "bin_by_bin"


class Compiled(NamedTuple):
    """The fields of a `TemplateModel` that a specification leads to."""

    state: State
    bounds: BoundTable
    fixed: dict[Key, Any]
    constraints: ConstraintTable
    observation: dict[str, Any]
    terms: FlatTemplates
    masked: Bins | None
    links: Links | None
    interest: tuple[str, ...]


def compile_spec(
    spec: TemplateSpec,
    parameters: Any,
    likelihood: str,
    statistics: str | None,
    *,
    per_process: bool,
    profile: bool,
    data: Any,
) -> Compiled:
    """Put a template fit into arrays; arguments as those of `from_spec`."""
    rate_model = rate_model_of(spec, parameters)
    entries = dict(rate_model.parameters())
    names = _all_names(spec, entries)
    kind = _kind(statistics, likelihood, per_process=per_process)
    counts = _counts(spec, data)
    term = _term(spec, likelihood, counts, kind)
    baseline = None
    if spec.systematic_type == "normal":
        starts = {name: jnp.asarray(entry.start) for name, entry in entries.items()}
        baseline = np.asarray(rate_model.rates(starts))
    fitted, masked = (
        _packed(
            spec, bins, baseline, kind, per_process=per_process, likelihood=likelihood
        )
        for bins in (slice(0, spec.layout.fitted), slice(spec.layout.fitted, None))
    )
    assert fitted is not None
    starts: dict[str, Any] = dict.fromkeys(names, 0.0)
    starts.update({name: entry.start for name, entry in entries.items()})
    constraints = _constraints(spec, entries)
    free = kind is not None and not profile
    if free:
        _free(fitted.statistics, starts, constraints)
    state = State.from_pytree(starts, sep=separator(starts))
    shapes: dict[Key, tuple[int, ...]] = {
        str(key): np.shape(value) for key, value in state.items()
    }
    whole = TableLayout.of(shapes)
    table = ConstraintTable.of(constraints, shapes)
    observed: dict[str, Any] = {"counts": counts}
    if kind is not None and profile:
        observed["statistics"] = np.asarray(fitted.statistics.nominal)
    interest = [name for name, entry in entries.items() if entry.interest]
    return Compiled(
        state=state,
        bounds=BoundTable.of(
            {name: Interval(e.lower, e.upper) for name, e in entries.items()}, shapes
        ),
        fixed={},
        constraints=table,
        observation={"main": observed, "aux": table.aux()},
        terms=_likelihood(spec, fitted, term, rate_model, whole, table, free=free),
        masked=masked,
        links=links_of(spec),
        interest=(*interest, *(s.name for s in spec.systematics if s.interest)),
    )


def _likelihood(
    spec: TemplateSpec,
    fitted: Bins,
    term: AbstractDataTerm,
    rate_model: AbstractParameterModel,
    whole: TableLayout,
    table: ConstraintTable,
    *,
    free: bool,
) -> FlatTemplates:
    """Return the likelihood of vectors, for parameters in a given order."""
    own = None
    if free:
        own = Free(_places([FREE], whole), _loose(fitted.statistics).tobytes())
    return FlatTemplates(
        arrays=fitted.arrays,
        statistics=fitted.statistics,
        term=term,
        rate_model=rate_model,
        external=_external(spec, whole),
        size=sum(whole.sizes),
        rate_bytes=_places(rate_model.parameters(), whole),
        systematic_bytes=_places([s.name for s in spec.systematics], whole),
        constrained_bytes=_places([k for k, _, _ in table.layout.entries], whole),
        free=own,
    )


def _packed(
    spec: TemplateSpec,
    bins: slice,
    baseline: Any,
    kind: Any,
    *,
    per_process: bool,
    likelihood: str,
) -> Bins | None:
    """Return the arrays of some bins, None if there are none."""
    bins = slice(*bins.indices(spec.layout.bins)[:2])
    if bins.start == bins.stop:
        return None
    arrays, rows = pack_templates(
        spec.templates,
        spec.responses,
        bins,
        processes=len(spec.layout.processes),
        baseline=baseline,
        pack=_packer(spec, bins, likelihood),
    )
    return Bins(arrays, _bin_statistics(spec, rows, kind, per_process=per_process))


def _packer(
    spec: TemplateSpec, bins: slice, likelihood: str
) -> Callable[[Responses, Rows], AbstractResponses]:
    """Return what packs the responses of some bins."""
    if spec.sparse:
        return pack_lists
    if likelihood == "covariance":
        # That of the data couples all bins, so that no block is by itself.
        return pack_dense
    starts = [spec.layout.bins_of(c.name).start for c in spec.layout.channels]
    inside = [start for start in starts if bins.start <= start < bins.stop]
    edges = np.array([*inside, bins.stop]) - bins.start
    return ft.partial(pack_best, edges=edges)


def _loose(statistics: BinStatistics) -> np.ndarray:
    """Return which β fluctuate."""
    return np.flatnonzero(np.asarray(statistics.spread) > 0).astype(np.int32)


def _free(
    statistics: BinStatistics, starts: dict[str, Any], constraints: dict[Key, Any]
) -> None:
    """Add the auxiliary parameters of the samples to those that are fitted."""
    if FREE in starts:
        raise ArgumentValueError(
            f"profile: a parameter is called {FREE!r} already. Rename it."
        )
    spread = np.asarray(statistics.spread).ravel()[_loose(statistics)]
    one = np.ones_like(spread)
    match statistics.kind:
        case "gamma":
            starts[FREE], constraints[FREE] = one, Poisson(1 / spread)
        case "normal":
            starts[FREE], constraints[FREE] = one, Normal(one, np.sqrt(spread))
        case _:
            starts[FREE], constraints[FREE] = 0 * one, Normal(0 * one, one)


def rate_model_of(
    spec: TemplateSpec,
    parameters: AbstractParameterModel
    | Callable[[Layout], AbstractParameterModel]
    | None,
) -> AbstractParameterModel:
    """Return what scales the processes, a strength for each signal by default."""
    if parameters is None:
        return Strengths(spec.layout, spec.signals)
    found = parameters
    if not isinstance(found, AbstractParameterModel):
        found = found(spec.layout)
    if not isinstance(found, AbstractParameterModel):
        raise ArgumentTypeError(
            "parameters: expected an AbstractParameterModel or a function of the "
            f"layout that returns one, got {type(found).__name__}."
        )
    if found.layout != spec.layout:
        raise ArgumentValueError(
            "parameters: made for another layout of channels and processes. Make it "
            "with builder.layout after everything was booked, or give a function: "
            "parameters=lambda layout: Strengths(layout, ...)."
        )
    check_rates(found)
    return found


def _all_names(
    spec: TemplateSpec, entries: Mapping[str, RateParameter]
) -> tuple[str, ...]:
    names = (*entries, *(s.name for s in spec.systematics))
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
    return names


def _kind(statistics: str | None, likelihood: str, *, per_process: bool) -> Kind | None:
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


def _counts(spec: TemplateSpec, data: Any) -> Float[np.ndarray, " fitted"]:
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


def _term(
    spec: TemplateSpec, likelihood: str, counts: np.ndarray, kind: Kind | None
) -> AbstractDataTerm:
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
        # Added events need no yield that they would be a share of.
        spread = np.sqrt(variance)
    else:
        loose = loose & (moving != 0)
        spread = np.where(loose, variance / np.where(loose, moving, 1) ** 2, 0)
    return BinStatistics(kind, per_process, follows & loose, spread)


def _constraints(
    spec: TemplateSpec, entries: Mapping[str, RateParameter]
) -> dict[Key, Normal]:
    found: dict[Key, Normal] = {
        s.name: Normal(0.0, 1.0) for s in spec.systematics if s.constrained
    }
    for name, entry in entries.items():
        if entry.width is not None:
            found[name] = Normal(entry.start, entry.width)
    return found


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


def _places(names: Any, whole: TableLayout) -> bytes:
    """Return where the elements of parameters are in the vector."""
    elements = whole.elements()
    places = [np.ravel(elements[str(name)]) for name in names]
    return np.concatenate([np.zeros(0), *places]).astype(np.int32).tobytes()


__all__ = ["Compiled", "compile_spec", "rate_model_of"]
