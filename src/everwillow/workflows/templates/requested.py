"""The results that the options of a template fit request, checked before it runs.

Options name parameters by patterns and mappings by text. This module resolves them to
labels of parameters and to mappings, and leaves out results that reveal the value of a
hidden parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, UnknownKeyError
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import meant_elements, named_elements
from everwillow.likelihood.histograms import Layout
from everwillow.mappings import AbstractHistogramMapping, parse_mapping
from everwillow.models.templates.likelihood.packing import FREE
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.fixed import frozen_elements
from everwillow.workflows.report import SIMULATION
from everwillow.workflows.templates.fit_options import COMMA, Names, Pair, ResultOptions
from everwillow.workflows.templates.fit_records import free_projections
from everwillow.workflows.templates.model import prefit_errors


@dataclass(frozen=True, slots=True)
class RequestedResults:
    """Results that are computed besides a fit, by the labels of parameters.

    Attributes:
        options: The options, for switches and numbers.
        groups: Groups of parameters for impacts: those of systematics, and others.
        mappings: Mappings that are evaluated.
        variations: Parameters that are moved to evaluate histograms.
        minos: Parameters with asymmetric errors.
        scans: Parameters that are scanned.
        grids: Pairs of parameters that are scanned.
        contours: Pairs of parameters with contours.
        limits: Parameters with upper limits.
        projections: Projections that are tested against free bins.
        toys: Whether toys are fitted.
        unconstrained: Errors before the fit of parameters without a constraint.
        remarks: Remarks on results that were left out as they reveal hidden values.
    """

    options: ResultOptions
    groups: dict[str, list[str]]
    mappings: tuple[AbstractHistogramMapping, ...]
    variations: tuple[str, ...]
    minos: tuple[str, ...]
    scans: tuple[str, ...]
    grids: tuple[Pair, ...]
    contours: tuple[Pair, ...]
    limits: tuple[str, ...]
    projections: tuple[str, ...]
    toys: bool
    unconstrained: dict[Any, float]
    remarks: tuple[str, ...]

    @property
    def options_with_fits(self) -> tuple[str, ...]:
        """The options that request results which need a minimum."""
        requested = {
            "impacts": self.options.impacts,
            "projections": self.projections,
            "toys": self.toys,
            "asymmetric_impacts": self.options.asymmetric_impacts,
            "nonprofiled_impacts": self.options.nonprofiled_impacts,
            "minos": self.minos,
            "scans": self.scans or self.grids,
            "contours": self.contours,
            "limits": self.limits,
        }
        return tuple(name for name, some in requested.items() if some)


def requested_results(
    model: TemplateModel, options: ResultOptions, *, toys: bool
) -> RequestedResults:
    """Resolve options with the parameters and channels of a model.

    Args:
        model: The model that is fitted.
        options: The options.
        toys: Whether toys are fitted.

    Raises:
        ArgumentTypeError: If an option has no names where names are expected.
        ArgumentValueError: If a parameter is frozen, cannot be moved or cannot be zero
            where it has to be.
        UnknownKeyError: If there is no such parameter, channel or process.
    """
    labels = _ParameterLabels(model)
    if options.nonprofiled_impacts:
        _check_movable(labels)
    singles, grids = labels.singles_and_pairs(options.scans, "scans")
    others, contours = labels.singles_and_pairs(options.contours, "contours")
    if others:
        raise ArgumentValueError(
            f"contours: expected two parameters, written A,B, got {others[0]!r}."
        )
    minos = labels.chosen(options.minos, "minos")
    limits = labels.chosen(options.limits, "limits", interest=True)
    _check_can_be_zero(labels, limits)
    projections = options.projections
    projections = (projections,) if isinstance(projections, str) else projections
    free_projections(model, projections)
    pairs = {name for pair in (*grids, *contours) for name in pair}
    # Expected limits reveal a hidden parameter; intervals and scans reveal its bounds.
    without_limits = set(map(str, model.hidden)) & set(limits)
    revealing = _revealing_bounds(labels) & {*minos, *singles, *pairs}
    everything = "*" if options.variations is True else options.variations
    return RequestedResults(
        options=options,
        groups=_groups(labels, options.groups or {}),
        mappings=_mappings(options.mappings, model.layout),
        variations=labels.chosen(everything, "variations"),
        minos=tuple(n for n in minos if n not in revealing),
        scans=tuple(n for n in singles if n not in revealing),
        grids=tuple(p for p in grids if not revealing & set(p)),
        contours=tuple(p for p in contours if not revealing & set(p)),
        limits=tuple(n for n in limits if n not in without_limits),
        projections=tuple(projections),
        toys=toys,
        unconstrained=prefit_errors(model, options.unconstrained),
        remarks=_left_out(without_limits, revealing),
    )


def _left_out(limits: set[str], others: set[str]) -> tuple[str, ...]:
    """Return remarks on results that reveal hidden values."""
    remarks = []
    if limits:
        remarks.append(
            f"Limits on {', '.join(sorted(limits))} were left out: the expected limits "
            "reveal the hidden number."
        )
    if others:
        remarks.append(
            f"Intervals, scans and contours of {', '.join(sorted(others))} were left "
            "out: the bounds would tell the hidden number."
        )
    return tuple(remarks)


def _revealing_bounds(labels: "_ParameterLabels") -> set[str]:
    """Return the parameters whose bounds reveal the hidden number.

    Bounds are shifted and scaled as the values are.
    """
    model = labels.model
    numbers = model.terms.hidden
    if numbers is None:
        return set()
    lower, upper = (np.asarray(b) for b in (model.bounds.lower, model.bounds.upper))
    shifted = np.asarray(numbers.offset) != 0
    scaled = np.asarray(numbers.factor) != 1
    bounded = np.isfinite(lower) | np.isfinite(upper)
    # A factor does not move a bound at zero.
    beside_zero = np.isfinite(lower) & (lower != 0) | np.isfinite(upper) & (upper != 0)
    revealing = (shifted & bounded) | (scaled & beside_zero)
    return {labels.labels[i] for i in np.flatnonzero(revealing)}


def _check_can_be_zero(labels: "_ParameterLabels", names: Sequence[str]) -> None:
    """Refuse limits on parameters that cannot be zero."""
    lower = np.asarray(labels.model.bounds.lower)
    hidden = set(map(str, labels.model.hidden))
    for name in names:
        low = lower[labels.labels.index(name)]
        if low > 0 and name not in hidden:
            raise ArgumentValueError(
                f"limits: {name!r} cannot be 0, its lower bound is {low:g}, so "
                "there is no hypothesis without it."
            )


def _check_movable(labels: "_ParameterLabels") -> None:
    """Refuse impacts of frozen parameters if none has a constraint."""
    frozen = {labels.labels[i].split("[")[0] for i in np.flatnonzero(labels.frozen)}
    if not frozen & set(map(str, labels.model.constraints)):
        raise ArgumentValueError(
            "nonprofiled_impacts: no parameter with a constraint is frozen, so "
            "there is nothing to move. Freeze the parameters that the data must not "
            "constrain."
        )


def _groups(
    labels: "_ParameterLabels", more: Mapping[str, str | Sequence[str]]
) -> dict[str, list[str]]:
    """Return the free parameters of each group, in the order of the names."""
    groups = {
        group: [n for n in names if not labels.frozen[labels.labels.index(n)]]
        for group, names in labels.model.groups.items()
    }
    for group, patterns in more.items():
        members = groups.setdefault(group, [])
        names = labels.chosen(patterns, f"groups[{group!r}]")
        members += [name for name in names if name not in members]
    if FREE in labels.layout.keys:
        groups[SIMULATION] = list(labels.chosen(FREE, "groups"))
    return {name: groups[name] for name in sorted(groups) if groups[name]}


class _ParameterLabels:
    """The labels of the parameters of a model, and which of them are frozen."""

    def __init__(self, model: TemplateModel) -> None:
        self.model = model
        self.layout = ravel_state(model.state)[0]
        self.labels = self.layout.labels
        self.frozen = frozen_elements(model, self.layout)

    def chosen(
        self, given: Names, where: str, *, interest: bool = False
    ) -> tuple[str, ...]:
        """Return the free parameters that match names and patterns.

        Args:
            given: Names and patterns; True for all parameters of interest, False for
                none.
            where: The argument, for messages.
            interest: Whether patterns match parameters of interest only.
        """
        of_interest = np.isin(self.labels, [str(name) for name in self.model.interest])
        marks = of_interest & (given is True)
        names = (given,) if isinstance(given, str) else given
        for name in () if isinstance(names, bool) else names:
            elements, named = meant_elements(name, self.layout, where=where)
            if interest and not named:
                elements = elements & of_interest
            if not (elements & ~self.frozen).any():
                raise ArgumentValueError(f"{where}: {name!r} is frozen.")
            marks |= elements
        return tuple(self.labels[i] for i in np.flatnonzero(marks & ~self.frozen))

    def singles_and_pairs(
        self, given: str | Sequence[Any], where: str
    ) -> tuple[tuple[str, ...], tuple[Pair, ...]]:
        """Return single parameters, and pairs, ``A,B`` or ``(A, B)``."""
        singles: dict[str, None] = {}
        pairs: dict[Pair, None] = {}
        for one in (given,) if isinstance(given, str) else given:
            parts = self._parts(one, where)
            names = [self._single(part, where) for part in parts]
            if len(names) == 1:
                singles[names[0]] = None
            elif len(names) == 2 and names[0] != names[1]:
                pairs[names[0], names[1]] = None
            else:
                raise ArgumentValueError(
                    f"{where}: expected one parameter or two different ones: {one!r}."
                )
        return tuple(singles), tuple(pairs)

    def _parts(self, one: Any, where: str) -> list[str]:
        if isinstance(one, str):
            if named_elements(one, self.layout) is not None:
                return [one]
            return [part.strip() for part in COMMA.split(one)]
        if isinstance(one, tuple | list) and all(isinstance(part, str) for part in one):
            return list(one)
        raise ArgumentTypeError(
            f"{where}: expected names, or pairs of them, got {one!r}."
        )

    def _single(self, name: str, where: str) -> str:
        elements, _ = meant_elements(name, self.layout, where=where)
        if elements.sum() != 1:
            raise ArgumentValueError(
                f"{where}: {name!r} means {int(elements.sum())} parameters. Name "
                f"one, such as {self.labels[int(np.argmax(elements))]!r}."
            )
        i = int(np.argmax(elements))
        if self.frozen[i]:
            raise ArgumentValueError(
                f"{where}: {name!r} is frozen, so it cannot be moved."
            )
        return self.labels[i]


def _mappings(
    mappings: Sequence[str | AbstractHistogramMapping], layout: Layout
) -> tuple[AbstractHistogramMapping, ...]:
    """Read mappings, and check the channels, axes and processes that they name."""
    mappings = [mappings] if isinstance(mappings, str) else mappings
    by_key: dict[str, AbstractHistogramMapping] = {}
    for one in mappings:
        is_one = isinstance(one, AbstractHistogramMapping)
        mapping = one if is_one else parse_mapping(one)
        try:
            mapping.axes(layout)
        except UnknownKeyError as error:
            raise UnknownKeyError(f"mapping {mapping.key!r}: {error}") from error
        by_key[mapping.key] = mapping
    return tuple(by_key.values())
