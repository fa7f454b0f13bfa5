"""Checks that the parts of a specification are consistent."""

from collections.abc import Iterable

import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow.likelihood.histograms import Channel
from everwillow.likelihood.templates.spec import TemplateSpec


def check_spec(spec: TemplateSpec) -> None:
    """Check sizes and indices, which may be wrong in a file.

    Raises:
        ArgumentValueError: If one of them is inconsistent.
    """
    layout, templates, responses = spec.layout, spec.templates, spec.responses
    fitted, entries = layout.fitted, len(responses.row)
    masked = [channel.masked for channel in layout.channels]
    rows = len(templates.bin)
    starts = responses.start
    key = templates.bin.astype(np.int64) * max(len(layout.processes), 1)
    key = key + templates.process if len(templates.process) == rows else key[:0]
    checks = {
        "a masked channel comes before a fitted one": masked == sorted(masked),
        "names of channels repeat": _distinct([c.name for c in layout.channels]),
        "names of processes repeat": _distinct(layout.processes),
        "names of systematics repeat": _distinct([s.name for s in spec.systematics]),
        "a signal is no process": set(spec.signals) <= set(layout.processes),
        "the parts of the templates have different lengths": len(key)
        == len(templates.nominal)
        == len(templates.variance)
        == rows,
        "templates have bins that do not exist": _inside(templates.bin, layout.bins),
        "templates have processes that do not exist": _inside(
            templates.process, len(layout.processes)
        ),
        "templates are not sorted by bin and process": bool((np.diff(key) > 0).all()),
        "the starts of the responses are not in order": len(starts)
        == len(spec.systematics) + 1
        and starts[0] == 0
        and starts[-1] == entries
        and bool((np.diff(starts) >= 0).all()),
        "the parts of the responses have different lengths": len(responses.average)
        == entries
        and (responses.half is None or len(responses.half) == entries),
        "responses have rows that do not exist": _inside(responses.row, rows),
        "the data are not those of the fitted bins": len(spec.observed) == fitted
        and (spec.observed_variance is None or len(spec.observed_variance) == fitted)
        and all(len(values) == fitted for values in spec.pseudodata.values()),
        "the covariance of the data is that of other bins": spec.observed_covariance
        is None
        or spec.observed_covariance.shape == (fitted, fitted),
        "an external likelihood has numbers for other parameters": all(
            term.gradient.shape == (len(term.parameters),)
            and term.hessian.shape == (len(term.parameters),) * 2
            for term in spec.external
        ),
        "beta variations are for bins that do not exist": _beta_fits(spec),
        "yields, responses or covariances have numbers that are not finite": _finite(
            spec
        ),
        "variances of the templates are negative": not (templates.variance < 0).any(),
    }
    faults = [what for what, fine in checks.items() if not fine]
    if faults:
        raise ArgumentValueError(
            f"the template fit is not consistent: {'; '.join(faults)}."
        )


def check_definite(covariance: np.ndarray) -> None:
    """Check that a covariance of the data can be inverted.

    Raises:
        ArgumentValueError: If it cannot.
    """
    variance = np.diagonal(covariance)
    if not (variance > 0).all():
        i = int(np.argmin(variance))
        raise ArgumentValueError(
            f"data: bin {i} has variance {variance[i]}, and a covariance needs "
            "positive ones. Give add_data(..., variances=...) or add_data_covariance."
        )
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        width = np.sqrt(variance)
        least = np.linalg.eigvalsh(covariance / width[:, None] / width)[0]
        raise ArgumentValueError(
            "data: the covariance of the data is not positive definite, the smallest "
            f"eigenvalue of the correlations is {least:.2g}. Add what is missing on "
            "its diagonal, or merge bins that are the same measurement."
        ) from None


def check_possible(spec: TemplateSpec, counts: np.ndarray, *, additive: bool) -> None:
    """Check that there is a template in every bin with Poisson counts.

    Args:
        spec: The template fit.
        counts: The counts of the fitted bins.
        additive: Whether simulated samples fluctuate in bins without a yield, too.

    Raises:
        ArgumentValueError: If a bin has counts, and no process has a template there.
    """
    some = spec.templates.nominal != 0
    if additive:
        some = some | (spec.templates.variance > 0)
    filled = spec.templates.bin[some]
    none = np.bincount(filled, minlength=spec.layout.bins)[: len(counts)] == 0
    for channel in spec.layout.channels:
        if channel.masked:
            continue
        part = spec.layout.bins_of(channel.name)
        bins = np.flatnonzero(none[part] & (counts[part] > 0))
        if len(bins):
            raise ArgumentValueError(
                f"data: channel {channel.name!r} has events in "
                f"{spell_bins(bins, channel)}, where no process has anything: a "
                "Poisson likelihood of that is 0. Merge bins, or add what is missing "
                "to a template."
            )


def _distinct(names: list[str] | tuple[str, ...]) -> bool:
    return len(set(names)) == len(names)


def _inside(index: np.ndarray, size: int) -> bool:
    return not len(index) or bool(index.min() >= 0 and index.max() < size)


def _finite(spec: TemplateSpec) -> bool:
    """Return whether all numbers are finite, except for missing data."""
    templates, responses, beta = spec.templates, spec.responses, spec.beta_variations
    arrays = [
        templates.nominal,
        templates.variance,
        responses.average,
        responses.half,
        spec.observed_covariance,
        None if beta is None else beta.change,
        *(part for term in spec.external for part in (term.gradient, term.hessian)),
    ]
    # A sum, as an array of flags of the responses would be large.
    with np.errstate(invalid="ignore", over="ignore"):
        return all(bool(np.isfinite(np.sum(a))) for a in arrays if a is not None)


def _beta_fits(spec: TemplateSpec) -> bool:
    beta, layout = spec.beta_variations, spec.layout
    if beta is None:
        return True
    sizes = {len(a) for a in (beta.process, beta.source, beta.target, beta.change)}
    return (
        len(sizes) == 1
        and _inside(beta.process, len(layout.processes))
        and _inside(beta.source, layout.fitted)
        and _inside(beta.target - layout.fitted, layout.bins - layout.fitted)
    )


def spell_bins(bins: Iterable[int], channel: Channel) -> str:
    """Return bins by their indices along the axes, for errors."""
    bins = list(bins)
    shown = [
        "(" + ", ".join(map(str, map(int, np.unravel_index(b, channel.shape)))) + ")"
        if channel.axes
        else "()"
        for b in bins[:10]
    ]
    more = f" and {len(bins) - 10} more" if len(bins) > 10 else ""
    return f"bin{'s' if len(bins) > 1 else ''} {', '.join(shown)}{more}"
