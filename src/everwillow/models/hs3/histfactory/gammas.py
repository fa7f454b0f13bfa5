"""Parameters of single bins (gammas): their names and their errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow.models._document import Report
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.histfactory.channels import Channel, Sample
from everwillow.models.hs3.histfactory.modifiers import Modifier
from everwillow.models.hs3.selection import Selection


_EXACT_TOOLS = ("everwillow", "pyhf")  # they write absolute errors, also zeros
_DOMAIN_WIDTH = 5.0  # ROOT lets a gamma go up to 1 + 5 errors
_AGREE = 1e-6
_NO_RELATIVE_ERROR = 5.0  # no template is used with an error of 500 %


@dataclass(frozen=True)
class ShapeSys:
    """A shapesys: the errors of its bins in the document, and their sample.

    Attributes:
        label: The names of its channel and sample.
        names: The gammas, or the array parameter.
        values: The entry `vals`.
        nominal: Yields of the sample.
        modifier: The modifier.
    """

    label: str
    names: str | tuple[str, ...]
    values: np.ndarray
    nominal: np.ndarray
    modifier: Modifier


def gamma_names(
    modifier: Modifier, channel: Channel, selection: Selection, document: Document
) -> str | tuple[str, ...]:
    """Return the names of the scalars, or of the array, that scale the bins."""
    bins = channel.bins
    for name in modifier.parameters:
        if not isinstance(name, str):
            modifier.node.refuse(f"a {modifier.kind} has names, not {name:g}.")
    names = tuple(str(name) for name in modifier.parameters)
    if modifier.listed:
        if len(names) != bins:
            modifier.node.refuse(
                f"{len(names)} parameters, but {channel.name!r} has {bins} bins."
            )
        if len(set(names)) != bins:
            document.report.collect(
                "Some bins share one parameter in the modifiers {names}.", modifier.name
            )
        return names
    known = selection.points.keys() | selection.bounds.keys()
    if not names:
        stem = modifier.name
        if modifier.kind == "staterror":
            stem = "stat_" + channel.name.removeprefix("model_").removesuffix("_model")
        document.report.collect(
            "The parameters of {names} are not listed; ROOT's names for them are used "
            "('gamma_..._bin_0').",
            modifier.name,
        )
        return tuple(f"gamma_{stem}_bin_{i}" for i in range(bins))
    stem = names[0]
    if bins == 1:
        return names
    for pattern in ("{}_{}", "{}_bin_{}", "gamma_{}_{}", "gamma_{}_bin_{}"):
        made = tuple(pattern.format(stem, i) for i in range(bins))
        if all(name in known for name in made):
            return made
    document.report.collect(
        "A single parameter is given for all bins of {names}; it is read as an array "
        "with one element for each bin.",
        stem,
    )
    return stem


def free_bins(entry: ShapeSys, document: Document) -> np.ndarray:
    """Return which bins have neither an error nor a constraint.

    ROOT writes 0 where a bin has no constraint: all bins of a ShapeFactor, and bins
    without error, whose parameters it marks as constant. For pyhf 0 is an error.
    """
    none = entry.values == 0.0
    if any(tool in _EXACT_TOOLS for tool in document.tools):
        return np.zeros_like(none)
    return none if document.from_root or none.all() else np.zeros_like(none)


def stat_errors(carriers: Sequence[tuple[Sample, np.ndarray]]) -> np.ndarray:
    """Return the relative errors of the sum of samples (Barlow-Beeston lite).

    Args:
        carriers: The samples that carry the modifier, with their absolute errors.

    Returns:
        The errors, shape ``(bins,)``, 0 in bins without a yield.
    """
    total = np.sum([sample.nominal for sample, _ in carriers], axis=0)
    with np.errstate(over="ignore"):  # an error that is not finite is refused later
        squares = np.sum([errors**2 for _, errors in carriers], axis=0)
        positive = total > 0.0
        errors = np.sqrt(squares) / np.where(positive, total, 1.0)
    return np.where(positive, errors, 0.0)


def report_dropped(
    label: str, nominal: np.ndarray, errors: np.ndarray, report: Report
) -> None:
    """Report bins that have an error although they expect no events."""
    for place in np.flatnonzero((nominal <= 0.0) & (errors > 0.0)):
        report.collect(
            "Errors are dropped where no events are expected: {names}.",
            f"bin {place} of {label}",
        )


def relative_errors(
    entries: Sequence[ShapeSys],
    selection: Selection,
    document: Document,
    *,
    wanted: str | None,
) -> list[np.ndarray]:
    """Return the relative errors of all shapesys, 0 where there is none.

    Args:
        entries: The modifiers of the likelihood.
        selection: Its analysis.
        document: Its document; the decision and the reason are added to its report.
        wanted: ``"absolute"`` or ``"relative"`` errors; None to infer it.
    """
    if wanted not in (None, "absolute", "relative"):
        raise ArgumentValueError(
            f"shapesys: expected 'absolute' or 'relative', got {wanted!r}."
        )
    if not any(entry.values.any() for entry in entries):
        return [np.zeros_like(entry.values) for entry in entries]
    meaning, reason = (
        (wanted, "as asked for") if wanted else _decide(entries, selection, document)
    )
    document.report.say(
        f"The 'vals' of shapesys are read as {meaning} errors, {reason}. "
        "load(..., shapesys='absolute') or 'relative' decides otherwise."
    )
    return [_relative(entry, meaning) for entry in entries]


def _relative(entry: ShapeSys, meaning: str) -> np.ndarray:
    if meaning == "relative":
        return np.where(entry.nominal > 0.0, entry.values, 0.0)
    positive = entry.nominal > 0.0
    with np.errstate(over="ignore"):  # refused later
        errors = entry.values / np.where(positive, entry.nominal, 1.0)
    return np.where(positive, errors, 0.0)


def _decide(
    entries: Sequence[ShapeSys], selection: Selection, document: Document
) -> tuple[str, str]:
    fits = {
        meaning: [_fits_domain(e, _relative(e, meaning), selection) for e in entries]
        for meaning in ("absolute", "relative")
    }
    for meaning, other in (("absolute", "relative"), ("relative", "absolute")):
        if any(fits[meaning]) and not any(fits[other]):
            return meaning, "as the ranges of their parameters end at 1 + 5 errors"
    if any(tool in _EXACT_TOOLS for tool in document.tools):
        return "absolute", "as the tool that made the document writes them"
    shared = {m: _consistent(entries, m) for m in ("absolute", "relative")}
    for meaning, other in (("absolute", "relative"), ("relative", "absolute")):
        if shared[meaning] and not shared[other]:
            return meaning, "as samples that share parameters agree only then"
    largest = max(float(np.max(entry.values, initial=0.0)) for entry in entries)
    if document.from_root and largest <= _NO_RELATIVE_ERROR:
        return "relative", "as ROOT writes them"
    if largest > _NO_RELATIVE_ERROR:
        return "absolute", "as some are too large for relative ones"
    return "absolute", "as nothing in the document says otherwise"


def _fits_domain(entry: ShapeSys, errors: np.ndarray, selection: Selection) -> bool:
    if isinstance(entry.names, str):
        return False
    ends = np.array([selection.bounds.get(n, (0.0, np.inf))[1] for n in entry.names])
    limited = np.isfinite(ends) & (errors > 0.0)
    expected = 1.0 + _DOMAIN_WIDTH * errors
    return bool(limited.any()) and bool(
        np.allclose(ends[limited], expected[limited], rtol=_AGREE, atol=0.0)
    )


def _consistent(entries: Sequence[ShapeSys], meaning: str) -> bool:
    seen: dict[str | tuple[str, ...], np.ndarray] = {}
    for entry in entries:
        errors = _relative(entry, meaning)
        if not np.allclose(seen.setdefault(entry.names, errors), errors, rtol=_AGREE):
            return False
    return True
