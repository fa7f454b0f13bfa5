"""From the specification of a template fit to the arrays of its likelihood."""

import functools as ft
from collections.abc import Callable, Iterable

import jax.numpy as jnp
import numpy as np

from everwillow._errors import unknown_key
from everwillow._typing import Key
from everwillow.likelihood.barlow_beeston import BinStatistics, Kind
from everwillow.likelihood.data_terms import AbstractDataTerm
from everwillow.likelihood.templates.arrays import Rows, pack_templates
from everwillow.likelihood.templates.blocks import pack_best
from everwillow.likelihood.templates.dense import pack_dense
from everwillow.likelihood.templates.lists import pack_lists
from everwillow.likelihood.templates.responses import AbstractResponses
from everwillow.likelihood.templates.spec import Responses, TemplateSpec
from everwillow.models.templates.likelihood.bins import Bins, fluctuating
from everwillow.models.templates.likelihood.external import External
from everwillow.models.templates.likelihood.flat import FlatTemplates, FreeStatistics
from everwillow.models.templates.likelihood.parameters import FREE
from everwillow.models.templates.rates.base import AbstractParameterModel
from everwillow.parameters.constraint_table import ConstraintTable, TableLayout
from everwillow.statelib import State


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
        rate_model: What scales the processes.
        kind: The constraint of the simulated samples.
        per_process: Whether each process of a bin fluctuates on its own.
        likelihood: How the data enter.
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
        rate_model: What scales the processes.
        fitted: The fitted bins.
        term: How the data enter.
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
    """Return where the elements of parameters are in the vector."""
    elements = whole.elements()
    places = [np.ravel(elements[str(name)]) for name in names]
    return np.concatenate([np.zeros(0), *places]).astype(np.int32).tobytes()


__all__ = ["flat_templates", "pack_bins"]
