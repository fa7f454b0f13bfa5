r"""Fits in bins of transverse momentum, in two passes.

The mass moves with the momenta, so bins in pt select masses, and data and simulation
differently. Bins in pt / m do not: the response cancels almost. The first pass fits in
these bins. Their mean momenta give bins in pt, by which the data are corrected, and the
second pass fits what is left.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.configuration.records import FitSettings
from everwillow.models.scale_smearing.parameters import SasParameters


Z_MASS = 91.2
"""The mass in GeV by which edges in pt are divided."""


class RecastBins(NamedTuple):
    """Bins in pt that belong to bins in pt / m.

    Attributes:
        edges: The first edge, the middles between mean momenta, and the last edge.
        means: The mean momentum of each bin.
    """

    edges: Float[np.ndarray, " edges"]
    means: Float[np.ndarray, " bins"]


def relative_name(settings: FitSettings) -> str:
    """Return the name of pt / m."""
    return f"r_{settings.pt}"


def uses_relative_pt(settings: FitSettings) -> bool:
    """Return whether a fit has two passes."""
    return settings.relative_pt and settings.pt in settings.categories.names


def relative_categories(settings: FitSettings) -> Categories:
    """Return the categories in which bins in pt are bins in pt / m."""
    edges = settings.categories.axis(settings.pt) / Z_MASS
    return settings.categories.replaced(
        settings.pt, list(edges), relative_name(settings)
    )


def with_relative_pt(
    columns: Mapping[str, Any], settings: FitSettings
) -> dict[str, np.ndarray]:
    """Return the columns with pt / m, of events with all leptons in the range of pt."""
    edges = settings.categories.axis(settings.pt)
    mass = np.asarray(columns[settings.mass], float)
    found = dict(columns)
    for suffix in settings.suffixes:
        pt = np.asarray(columns[settings.pt + suffix], float)
        found[relative_name(settings) + suffix] = pt / mass
    outside = np.zeros(mass.size, bool)
    for suffix in settings.suffixes:
        pt = np.asarray(columns[settings.pt + suffix])
        outside |= (pt < edges[0]) | (pt >= edges[-1])
    return {name: np.asarray(values)[~outside] for name, values in found.items()}


def recast_bins(columns: Mapping[str, Any], settings: FitSettings) -> RecastBins:
    """Return the bins in pt of the leptons in bins of pt / m.

    Events count if all leptons are in a category. A bin without leptons keeps its own
    edges.
    """
    categories = relative_categories(settings)
    indices = [categories.index(columns, one) for one in settings.suffixes]
    inside = np.all(np.stack(indices) >= 0, 0)
    place = categories.names.index(relative_name(settings))
    bins = categories.shape[place]
    sums, counts = np.zeros(bins), np.zeros(bins)
    for suffix, index in zip(settings.suffixes, indices, strict=True):
        bin_of = np.unravel_index(index[inside], categories.shape)[place]
        pt = np.asarray(columns[settings.pt + suffix], float)[inside]
        sums += np.bincount(bin_of, pt, bins)
        counts += np.bincount(bin_of, minlength=bins)
    edges = settings.categories.axis(settings.pt)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    middles = 0.5 * (means[1:] + means[:-1])
    inner = np.where(np.isfinite(middles), middles, edges[1:-1])
    return RecastBins(np.concatenate([edges[:1], inner, edges[-1:]]), means)


def corrected(
    columns: Mapping[str, Any],
    settings: FitSettings,
    categories: Categories,
    response: Float[np.ndarray, " categories"],
) -> dict[str, np.ndarray]:
    """Return data divided by the responses of a first pass.

    Leptons without a response keep their momentum.

    Args:
        columns: The data, with momenta and mass.
        settings: The settings of the fit.
        categories: Categories in pt.
        response: The response of each.
    """
    found = {name: np.asarray(values) for name, values in columns.items()}
    mass = np.asarray(columns[settings.mass], float)
    for suffix in settings.suffixes:
        index = categories.index(columns, suffix)
        factor = np.where(index >= 0, response[index], 1.0)
        factor = np.where(np.isnan(factor), 1.0, factor)
        name = settings.pt + suffix
        found[name] = np.asarray(columns[name], float) / factor
        mass = mass / factor**settings.mass_exponent
    found[settings.mass] = mass
    return found


def joined(
    first: SasParameters, second: SasParameters, bins: RecastBins, settings: FitSettings
) -> SasParameters:
    """Return the product of both responses, with the rest of the second pass.

    Covariances are those of the second pass, in the product of the responses. A
    category without a number in one of the passes has none.
    """
    size = first.resp.size
    lost = np.isnan(first.resp)
    factor = np.concatenate([first.resp, np.where(lost, np.nan, 1.0)])

    def scaled(matrix: np.ndarray) -> np.ndarray:
        return matrix * np.outer(factor, factor)

    return dataclasses.replace(
        second,
        categories=settings.categories.replaced(settings.pt, list(bins.edges)),
        resp=first.resp * second.resp,
        reso=np.where(lost, np.nan, second.reso),
        status=tuple(
            before if gone else after
            for before, after, gone in zip(
                first.status, second.status, lost, strict=True
            )
        ),
        eresp=first.resp * second.eresp,
        eresp_mc=first.resp * second.eresp_mc,
        ereso=np.where(lost, np.nan, second.ereso),
        ereso_mc=np.where(lost, np.nan, second.ereso_mc),
        resp_bias=_times(factor[:size], second.resp_bias),
        reso_bias=_times(factor[size:], second.reso_bias),
        pt_mean=bins.means,
        covariance=None
        if second.covariance is None
        else scaled(np.asarray(second.covariance)),
        covariances={name: scaled(m) for name, m in second.covariances.items()},
        origin={**second.origin, "first_pass_resp": first.resp},
    )


def _times(factor: np.ndarray, values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else factor * values
