"""Simplified likelihoods: a single background with its uncertainty after a fit.

The covariance of its yields becomes shifts of all bins and a residual for each bin.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NonFiniteError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow.likelihood.binned.spec import BinnedSpec
from everwillow.models._document import shortened
from everwillow.models.histfactory.operations import check_known, list_of_names
from everwillow.models.histfactory.reading import read_document
from everwillow.models.histfactory.spec import workspace_spec
from everwillow.models.json_source import Source, copied, load_json


# Eigenvalues below this fraction of the largest are rounding errors of a covariance.
_ROUNDING = 1e-12

TOTAL = "totalError"


@dataclass(frozen=True, slots=True)
class SimplifiedWorkspace:
    """A simplified likelihood as a pyhf workspace.

    Attributes:
        workspace: The document.
        components: The number of nuisance parameters common to all channels.
        kept: The fraction of the variance that these describe, with each bin in units
            of its statistical variance; at most 1. It is 1 for the single parameter of
            full correlation, which describes the whole variance of every bin.
        report: Remarks on omissions and assumptions, one sentence each.
    """

    workspace: dict[str, Any]
    components: int
    kept: float
    report: tuple[str, ...]


def simplified_workspace(
    workspace: Source,
    *,
    signals: Collection[str],
    yields: Float[ArrayLike, " bins"],
    covariance: Float[ArrayLike, "bins bins"],
    components: int | float | None = None,
    keep: Collection[str] | None = None,
    values: Mapping[str, ArrayLike] | None = None,
    measurement: str | int | None = None,
    poi: str | None = None,
    background: str = "Bkg",
) -> SimplifiedWorkspace:
    r"""Replace all backgrounds by one with given yields and covariance.

    The signals do not change. The uncertainty of the background becomes

    - by default, one nuisance parameter ``totalError``, which shifts every bin by its
      standard deviation, as in ATL-PHYS-PUB-2021-038. All bins are fully correlated.
    - with `components`, the principal components :math:`c_k` of the covariance,
      :math:`C = \sum_k c_k c_k^\mathsf T`, one nuisance parameter ``principal_1``,
      ... each. They are those of :math:`C_{ij} / \sqrt{b_i b_j}` (b at least 1), so
      that the first ones are the largest relative to the statistical errors
      :math:`\sqrt{b_i}`. The rest of the variance of each bin is uncorrelated, in a
      `staterror` named ``residual_`` and the channel. The variance of every bin is
      exact, and the covariance is exact with all components.

    All are linear in the nuisance parameters, with standard normal constraints. For
    yields and a covariance from a fit see
    `everwillow.workflows.histfactory.simplify.simplify_workspace`.

    Args:
        workspace: The full workspace: a file, JSON text or a dict.
        signals: Names of the samples to keep; they have the POI.
        yields: Expected background of each bin, channels in the order of
            `BinnedModel.channels`, that of their names.
        covariance: The covariance of the yields.
        components: None, a number of components, or the fraction of the variance to
            keep as a `float` up to 1.0: 1 is one component, 1.0 is all.
        keep: Types of modifiers to keep on the signals, such as ``("normfactor",
            "lumi")``; None for all.
        values: Values of free factors of signals that are also factors of backgrounds,
            by name. Without the backgrounds they are not determined, and are fixed at
            these values, or at their start values.
        measurement: Name or index of the measurement to keep; the first if None.
        poi: Parameter of interest instead of that of the measurement.
        background: The name of the new sample.

    Raises:
        UnknownKeyError: If there is no such sample or measurement.
        ArgumentValueError: If the signals do not have the POI, if backgrounds have it,
            or if a yield is negative.
        ShapeMismatchError: If the numbers of yields and bins differ.
        NotPositiveDefiniteError: If the covariance has negative eigenvalues.
        SpecificationError: If the workspace is not valid.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> config = {"poi": "mu", "parameters": []}
        >>> workspace = {
        ...     "channels": [
        ...         {
        ...             "name": "SR",
        ...             "samples": [
        ...                 {"name": "signal", "data": [5.0], "modifiers": [mu]},
        ...                 {"name": "top", "data": [30.0], "modifiers": []},
        ...                 {"name": "fakes", "data": [20.0], "modifiers": []},
        ...             ],
        ...         }
        ...     ],
        ...     "observations": [{"name": "SR", "data": [52]}],
        ...     "measurements": [{"name": "m", "config": config}],
        ...     "version": "1.0.0",
        ... }
        >>> made = simplified_workspace(
        ...     workspace, signals=["signal"], yields=[51.0], covariance=[[9.0]]
        ... )
        >>> made.workspace["channels"][0]["samples"][0]["modifiers"][0]["data"]
        {'hi_data': [54.0], 'lo_data': [48.0]}

    References:
        ATLAS Collaboration, ATL-PHYS-PUB-2021-038.
    """
    document = load_json(workspace)
    spec = workspace_spec(document, measurement=measurement, poi=poi)
    parts = _separated(document, spec, signals, keep)
    bins = {channel.name: channel.observed.size for channel in spec.channels}
    counts, matrix = _checked_numbers(yields, covariance, sum(bins.values()))
    shared, residual, kept = _principal_shifts(counts, matrix, components)
    ends = np.cumsum(list(bins.values()))[:-1]
    cut = [np.split(array, ends, -1) for array in (counts, shared, residual)]
    total = components is None
    new = {
        name: {
            "name": background,
            "data": one.tolist(),
            "modifiers": _modifiers(name, one, moved, rest, total=total),
        }
        for name, one, moved, rest in zip(bins, *cut, strict=True)
    }
    _check_names(parts, new, background)
    made = {
        "channels": [
            {
                "name": channel["name"],
                "samples": [new[channel["name"]], *parts.signals[channel["name"]]],
            }
            for channel in document["channels"]
        ],
        "observations": document["observations"],
        "measurements": [_measurement(document, spec, parts, values or {})],
        "version": document["version"],
    }
    read_document(made)
    notes = (
        *_notes(parts, spec.poi or ""),
        *_notes_on_yields(bins, counts, matrix, residual),
    )
    return SimplifiedWorkspace(copied(made), len(shared), kept, notes)


def _checked_numbers(
    yields: Any, covariance: Any, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return yields and their covariance as arrays.

    Raises:
        ShapeMismatchError: If the numbers of yields and bins differ.
        NonFiniteError: If a number is not finite.
        ArgumentValueError: If a yield is negative, or the matrix is not symmetric.
    """
    counts, matrix = np.asarray(yields, float), np.asarray(covariance, float)
    if counts.shape != (size,) or matrix.shape != (size, size):
        raise ShapeMismatchError(
            f"the workspace has {size} bins, and yields of shape {counts.shape} and a "
            f"covariance of shape {matrix.shape} were given."
        )
    if not (np.isfinite(counts).all() and np.isfinite(matrix).all()):
        raise NonFiniteError(
            "yields, covariance: expected finite numbers; was the fit successful?"
        )
    if (counts < 0).any():
        bin_ = int(np.argmax(counts < 0))
        raise ArgumentValueError(
            f"yields[{bin_}]: expected no negative yield, got {counts[bin_]}."
        )
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max()):
        raise ArgumentValueError("covariance: expected a symmetric matrix.")
    return counts, (matrix + matrix.T) / 2


def _principal_shifts(
    counts: np.ndarray, matrix: np.ndarray, components: Any
) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Split a covariance, :math:`C = \sum_k c_k c_k^\mathsf T + \text{diag}(r)`.

    Args:
        counts: The yields b, shape ``(bins,)``.
        matrix: Their covariance C.
        components: The number of principal components of :math:`C_{ij} / \sqrt{b_i
            b_j}` (b at least 1), or a fraction of the variance as a float. None for the
            standard deviations of all bins as the only shift.

    Returns:
        The shifts :math:`c_k`, shape ``(components, bins)``; the rest r of the variance
        of each bin; and the fraction of the variance in the shifts. Off the diagonal
        the sum equals C only with all components.

    Raises:
        NotPositiveDefiniteError: If C has negative eigenvalues.
    """
    scale = np.sqrt(np.maximum(counts, 1.0))
    size, vectors = np.linalg.eigh(matrix / scale / scale[:, None])
    size, vectors = size[::-1], vectors[:, ::-1]
    smallest, largest = size[-1], size[0]
    # A covariance from a fit is a product of matrices, and contains their rounding.
    if smallest < -1e-6 * max(largest, 0.0):
        raise NotPositiveDefiniteError(
            f"covariance: its smallest eigenvalue is {smallest:.3g} (in units of the "
            f"statistical variances), its largest {largest:.3g}; a covariance has no "
            "negative ones."
        )
    variance = np.diagonal(matrix)
    if components is None:
        return np.sqrt(np.maximum(variance, 0))[None], np.zeros_like(counts), 1.0
    present = int((size > _ROUNDING * max(largest, 0.0)).sum())
    size = np.maximum(size, 0)
    total = size.sum()
    count = min(_number_of_components(components, size), present)
    shifts = (vectors[:, :count] * np.sqrt(size[:count])).T * scale
    # The sign of an eigenvector is free: choose the one that adds events.
    signs = np.sign(shifts.sum(1))
    shifts *= np.where(signs == 0, 1, signs)[:, None]
    rest = variance - np.sum(shifts**2, axis=0)
    rest = np.where(rest > 1e-9 * variance, rest, 0)
    return shifts, rest, float(size[:count].sum() / total) if total else 1.0


def _number_of_components(components: Any, size: np.ndarray) -> int:
    if isinstance(components, bool) or not isinstance(components, int | float):
        raise ArgumentTypeError(
            "components: expected None, a number of components or a part of the "
            f"variance, got {type(components).__name__}."
        )
    if isinstance(components, int) and components >= 1:
        return components
    if isinstance(components, float) and 0 < components <= 1:
        reached = np.cumsum(size) >= components * size.sum()
        return size.size if components == 1 else 1 + int(np.argmax(reached))
    raise ArgumentValueError(
        "components: expected an integer of 1 or more, or the part of the variance to "
        f"keep as a float above 0 and up to 1, got {components}."
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Signals and backgrounds of a document.

    Attributes:
        signals: The signal samples of each channel, with the modifiers to keep.
        kept: The types of kept modifiers of signals by name.
        dropped: The types of other modifiers of signals by name.
        elsewhere: The names of the modifiers of backgrounds.
    """

    signals: dict[str, list[Any]]
    kept: dict[str, set[str]]
    dropped: dict[str, set[str]]
    elsewhere: set[str]

    def undetermined(self, poi: str) -> list[str]:
        """Names of free factors that only the backgrounds determined."""
        free = {"normfactor", "shapefactor"}
        return sorted(
            name
            for name, types in self.kept.items()
            if name != poi and name in self.elsewhere and types <= free
        )


def _separated(document: Any, spec: BinnedSpec, signals: Any, keep: Any) -> _Parts:
    signal_names = list_of_names(signals, "signals")
    types = [] if keep is None else list_of_names(keep, "keep")
    check_known(document, {"sample": signal_names}, "signals")
    samples = [(c["name"], s) for c in document["channels"] for s in c["samples"]]
    parts = _Parts({c["name"]: [] for c in document["channels"]}, {}, {}, set())
    for channel, sample in samples:
        if sample["name"] not in signal_names:
            parts.elsewhere.update(entry["name"] for entry in sample["modifiers"])
            continue
        modifiers = []
        for entry in sample["modifiers"]:
            stays = keep is None or entry["type"] in types
            part = parts.kept if stays else parts.dropped
            part.setdefault(entry["name"], set()).add(entry["type"])
            modifiers += [entry] if stays else []
        parts.signals[channel].append({**sample, "modifiers": modifiers})
    if not spec.poi:
        raise ArgumentValueError(
            "poi: the measurement has none. Name the one of the signals."
        )
    if spec.poi not in parts.kept or spec.poi in parts.elsewhere:
        where = (
            f"scales samples besides {', '.join(map(shortened, signal_names))}"
            if spec.poi in parts.elsewhere
            else "is on none of them"
        )
        raise ArgumentValueError(
            f"signals: the POI {shortened(spec.poi)} {where}. Name all samples that "
            "have it, and no others; and keep its type of modifier."
        )
    return parts


def _modifiers(
    channel: str,
    counts: np.ndarray,
    shifts: np.ndarray,
    rest: np.ndarray,
    *,
    total: bool,
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {
            "name": TOTAL if total else f"principal_{number}",
            "type": "histosys",
            "data": {
                "hi_data": (counts + shift).tolist(),
                "lo_data": (counts - shift).tolist(),
            },
        }
        for number, shift in enumerate(shifts, 1)
    ]
    if (rest > 0).any():
        error = np.sqrt(rest).tolist()
        made.append({"name": f"residual_{channel}", "type": "staterror", "data": error})
    return made


def _check_names(parts: _Parts, new: Mapping[str, Any], background: str) -> None:
    added = {entry["name"] for sample in new.values() for entry in sample["modifiers"]}
    clash: Iterable[str] = sorted(added & parts.kept.keys())
    kind, mend = "modifiers", "Rename them first, with everwillow's `rename`."
    if any(s["name"] == background for group in parts.signals.values() for s in group):
        clash, kind, mend = [background], "samples", "Give another `background`."
    if clash:
        shown = ", ".join(map(shortened, clash))
        raise KeyCollisionError(
            f"the signals already have {kind} of the name {shown}. {mend}"
        )


def _measurement(
    document: Any, spec: BinnedSpec, parts: _Parts, values: Mapping[str, Any]
) -> dict[str, Any]:
    (old,) = (m for m in document["measurements"] if m["name"] == spec.name)
    settings = {
        entry["name"]: entry
        for entry in old["config"]["parameters"]
        if entry["name"] in parts.kept
    }
    for name in parts.undetermined(spec.poi or ""):
        held: dict[str, Any] = {"name": name, "fixed": True}
        if name in values:
            held["inits"] = np.ravel(np.asarray(values[name], float)).tolist()
        settings[name] = {**settings.get(name, {}), **held}
    config = {"poi": spec.poi, "parameters": list(settings.values())}
    return {"name": spec.name, "config": config}


def _notes(parts: _Parts, poi: str) -> list[str]:
    """Return remarks on the modifiers of the signals."""
    notes = []
    if parts.dropped:
        notes.append(f"Modifiers of the signals left out: {_shown(parts.dropped)}.")
    held = parts.undetermined(poi)
    if held:
        notes.append(f"Fixed, as only the backgrounds determine them: {_shown(held)}.")
    both = parts.elsewhere & parts.kept.keys() - {*held}
    if both:
        notes.append(
            "Of the systematics of the signals the backgrounds have these too; their "
            f"correlation is lost: {_shown(both)}."
        )
    return notes


def _notes_on_yields(
    bins: Mapping[str, int], counts: np.ndarray, matrix: np.ndarray, rest: np.ndarray
) -> list[str]:
    """Return remarks on bins for which a normal uncertainty is a bad approximation."""
    notes = []
    where = [f"{name}[{bin_}]" for name, size in bins.items() for bin_ in range(size)]
    deep = np.sqrt(np.maximum(np.diagonal(matrix), 0)) >= counts
    deep &= np.diagonal(matrix) > 0
    if deep.any():
        notes.append(
            "The background is as uncertain as it is large, so that a shift of one "
            "standard deviation leaves none of it, in "
            f"{_shown(np.compress(deep, where))}."
        )
    lost = (rest > 0) & (counts == 0)
    if lost.any():
        notes.append(
            "A bin without background cannot have a factor, so its uncorrelated "
            f"variance is left out: {_shown(np.compress(lost, where))}."
        )
    return notes


def _shown(names: Iterable[Any]) -> str:
    listed = sorted(map(str, names))
    more = f", ... ({len(listed)} in all)" if len(listed) > 8 else ""
    return ", ".join(listed[:8]) + more
