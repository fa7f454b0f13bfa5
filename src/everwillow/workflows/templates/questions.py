"""What is asked of a template fit besides its numbers, checked before anything runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, UnknownKeyError
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import meant_elements, named_elements
from everwillow.likelihood.histograms import Layout
from everwillow.mappings import AbstractHistogramMapping, parse_mapping
from everwillow.models.templates.likelihood.compilation import FREE
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.templates.fit_records import free_projections
from everwillow.workflows.templates.model import prefit_errors
from everwillow.workflows.templates.results import SIMULATION


Pair: TypeAlias = tuple[str, str]
Pairs: TypeAlias = str | Sequence[str | Pair]
"""Parameters, or two of them: ``"A,B"`` or ``("A", "B")``."""

# A comma between two names, and not one between the indices of an element.
COMMA = re.compile(r",(?![^\[\]]*\])")


@dataclass(frozen=True, slots=True)
class Questions:
    """What is computed after a fit, by the labels of parameters.

    Attributes:
        impacts: Whether impacts are.
        asymmetric_impacts: Whether they are by fits, too.
        nonprofiled_impacts: Whether those of frozen parameters are.
        groups: Groups of parameters for impacts: those of systematics, and others.
        minos: Parameters with asymmetric errors.
        scans: Parameters that are scanned.
        grids: Pairs of them that are scanned.
        scan_points: How many points each scan has in each direction.
        contours: Pairs of parameters with contours.
        contour_levels: The confidence levels of these.
        limits: Parameters with upper limits.
        limit_level: The CLs of these.
        mappings: Mappings that are evaluated.
        covariances: Whether their covariances are kept.
        breakdown: Whether errors of bins are divided by groups.
        variations: Parameters that histograms are evaluated for, moved.
        projections: Projections that are tested against free bins.
        toys: Number and seed of toys; None for none.
        unconstrained: Errors before the fit of parameters without a constraint.
        remarks: What was left out because it would tell hidden numbers.
    """

    impacts: bool
    asymmetric_impacts: bool
    nonprofiled_impacts: bool
    groups: dict[str, list[str]]
    minos: tuple[str, ...]
    scans: tuple[str, ...]
    grids: tuple[Pair, ...]
    scan_points: int
    contours: tuple[Pair, ...]
    contour_levels: tuple[float, ...]
    limits: tuple[str, ...]
    limit_level: float
    mappings: tuple[AbstractHistogramMapping, ...]
    covariances: bool
    breakdown: bool
    variations: tuple[str, ...]
    projections: tuple[str, ...]
    toys: tuple[int, int] | None
    unconstrained: dict[Any, float]
    remarks: tuple[str, ...]

    @property
    def fits(self) -> tuple[str, ...]:
        """Which arguments ask for further fits."""
        asked = {
            "impacts": self.impacts,
            "projections": self.projections,
            "toys": self.toys,
            "asymmetric_impacts": self.asymmetric_impacts,
            "nonprofiled_impacts": self.nonprofiled_impacts,
            "minos": self.minos,
            "scans": self.scans or self.grids,
            "contours": self.contours,
            "limits": self.limits,
        }
        return tuple(name for name, one in asked.items() if one)


def questions_of(
    model: TemplateModel,
    *,
    groups: Mapping[str, str | Sequence[str]] | None,
    mappings: Sequence[str | AbstractHistogramMapping],
    minos: bool | str | Sequence[str],
    scans: Pairs,
    contours: Pairs,
    contour_levels: Sequence[float],
    limits: bool | str | Sequence[str],
    limit_level: float,
    projections: Sequence[str],
    variations: bool | str | Sequence[str],
    unconstrained: float | None,
    **same: Any,
) -> Questions:
    """Check what is asked; arguments as in `everwillow.workflows.templates.run`."""
    names = _Names(model)
    if same["nonprofiled_impacts"]:
        names.check_movable()
    _check_numbers(same["scan_points"], contour_levels, limit_level)
    singles, pairs = names.singles_and_pairs(scans, "scans")
    others, areas = names.singles_and_pairs(contours, "contours")
    if others:
        raise ArgumentValueError(
            f"contours: expected two parameters, written A,B, got {others[0]!r}."
        )
    intervals = names.chosen(minos, "minos")
    upper = names.chosen(limits, "limits", interest=True)
    names.check_zero(upper)
    projections = (projections,) if isinstance(projections, str) else projections
    free_projections(model, projections)
    hidden = names.hidden & set(upper)
    told = names.told & {
        *intervals,
        *singles,
        *(n for p in (*pairs, *areas) for n in p),
    }
    return Questions(
        groups=names.groups(groups or {}),
        mappings=_mappings(mappings, model.layout),
        minos=tuple(n for n in intervals if n not in told),
        scans=tuple(n for n in singles if n not in told),
        grids=tuple(p for p in pairs if not told & set(p)),
        contours=tuple(p for p in areas if not told & set(p)),
        contour_levels=tuple(map(float, contour_levels)),
        limits=tuple(n for n in upper if n not in hidden),
        limit_level=float(limit_level),
        variations=names.chosen(
            "*" if variations is True else variations, "variations"
        ),
        projections=tuple(projections),
        unconstrained=prefit_errors(model, unconstrained),
        remarks=_left_out(hidden, told),
        **same,
    )


def _left_out(limits: set[str], others: set[str]) -> tuple[str, ...]:
    """Return what is said about what would tell hidden numbers."""
    remarks = []
    if limits:
        remarks.append(
            f"Limits on {', '.join(sorted(limits))} were left out: the expected ones "
            "would tell the hidden number."
        )
    if others:
        remarks.append(
            f"Intervals, scans and contours of {', '.join(sorted(others))} were left "
            "out: the bounds would tell the hidden number."
        )
    return tuple(remarks)


def _check_numbers(points: Any, levels: Sequence[float], level: float) -> None:
    if not isinstance(points, int | np.integer) or points < 2:
        raise ArgumentValueError(f"scan_points: expected 2 or more, got {points!r}.")
    if not len(levels) or not all(0 < one < 1 for one in levels):
        raise ArgumentValueError(
            f"contour_levels: expected numbers between 0 and 1, got {levels!r}."
        )
    if not 0 < level < 0.5:
        raise ArgumentValueError(
            "limit_level: expected a CLs such as 0.05, for limits at 95 % confidence, "
            f"got {level!r}."
        )


class _Names:
    """The parameters of a model by their labels."""

    def __init__(self, model: TemplateModel) -> None:
        self.model = model
        self.layout = ravel_state(model.state)[0]
        self.labels = self.layout.labels
        self.frozen = np.zeros(self.layout.size, bool)
        for key, value in model.fixed.items():
            here = self.layout.elements(self.layout.where[key])
            self.frozen[here] = ~np.isnan(np.ravel(np.asarray(value, float)))

    @property
    def hidden(self) -> set[str]:
        """The parameters that are hidden."""
        return set(map(str, self.model.hidden))

    @property
    def told(self) -> set[str]:
        """Those whose bounds, which move along, would tell the hidden number."""
        numbers = self.model.terms.hidden
        if numbers is None:
            return set()
        lower, upper = (np.asarray(b) for b in self._bounds())
        moved = np.asarray(numbers.offset) != 0
        scaled = np.asarray(numbers.factor) != 1
        # Zero stays where it is if it is multiplied.
        inner = (np.isfinite(lower) & (lower != 0)) | (
            np.isfinite(upper) & (upper != 0)
        )
        ended = np.isfinite(lower) | np.isfinite(upper)
        here = (moved & ended) | (scaled & inner)
        return {self.labels[i] for i in np.flatnonzero(here)}

    def _bounds(self) -> tuple[Any, Any]:
        return self.model.bounds.lower, self.model.bounds.upper

    def chosen(
        self, given: Any, where: str, *, interest: bool = False
    ) -> tuple[str, ...]:
        """Return the free parameters that names and patterns mean.

        Args:
            given: Names and patterns, or whether all parameters of interest.
            where: The argument, for messages.
            interest: Whether patterns mean parameters of interest only.
        """
        if given is False:
            return ()
        if given is True:
            mine = {str(name) for name in self.model.interest}
            here = [
                n in mine and not f
                for n, f in zip(self.labels, self.frozen, strict=True)
            ]
            return tuple(np.array(self.labels, object)[here])
        given = (given,) if isinstance(given, str) else given
        marks = np.zeros(self.layout.size, bool)
        for name in given:
            found, named = meant_elements(name, self.layout, where=where)
            if interest and not named:
                found = found & np.isin(self.labels, self.model.interest)
            if not (found & ~self.frozen).any():
                raise ArgumentValueError(
                    f"{where}: {name!r} is frozen, so nothing of it is left."
                )
            marks |= found & ~self.frozen
        return tuple(self.labels[i] for i in np.flatnonzero(marks))

    def singles_and_pairs(
        self, given: str | Sequence[Any], where: str
    ) -> tuple[tuple[str, ...], tuple[Pair, ...]]:
        """Return single parameters, and pairs, ``A,B`` or ``(A, B)``."""
        singles: dict[str, None] = {}
        pairs: dict[Pair, None] = {}
        for one in (given,) if isinstance(given, str) else given:
            parts = self._parts(one, where)
            found = [self._single(part, where) for part in parts]
            if len(found) == 1:
                singles[found[0]] = None
            elif len(found) == 2 and found[0] != found[1]:
                pairs[found[0], found[1]] = None
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
        found, _ = meant_elements(name, self.layout, where=where)
        if found.sum() != 1:
            raise ArgumentValueError(
                f"{where}: {name!r} means {int(found.sum())} parameters. Name one, "
                f"such as {self.labels[int(np.argmax(found))]!r}."
            )
        i = int(np.argmax(found))
        if self.frozen[i]:
            raise ArgumentValueError(
                f"{where}: {name!r} is frozen, so it cannot be moved."
            )
        return self.labels[i]

    def check_zero(self, names: Sequence[str]) -> None:
        """Refuse limits on what cannot be zero."""
        lower = np.asarray(self.model.bounds.lower)
        for name in names:
            low = lower[self.labels.index(name)]
            if low > 0 and name not in self.hidden:
                raise ArgumentValueError(
                    f"limits: {name!r} cannot be 0, its lower bound is {low:g}, so "
                    "there is no hypothesis without it."
                )

    def check_movable(self) -> None:
        """Refuse impacts of frozen parameters if there are none with a width."""
        held = {self.labels[i].split("[")[0] for i in np.flatnonzero(self.frozen)}
        if not held & set(map(str, self.model.constraints)):
            raise ArgumentValueError(
                "nonprofiled_impacts: no parameter with a constraint is frozen, so "
                "there is nothing to move. Freeze what the data must not constrain."
            )

    def groups(self, more: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
        """Return the free parameters of each group, in the order of the names."""
        found = {
            group: [n for n in names if not self.frozen[self.labels.index(n)]]
            for group, names in self.model.groups.items()
        }
        for group, patterns in more.items():
            mine = found.setdefault(group, [])
            names = self.chosen(patterns, f"groups[{group!r}]")
            mine += [name for name in names if name not in mine]
        if FREE in self.layout.keys:
            found[SIMULATION] = list(self.chosen(FREE, "groups"))
        return {name: found[name] for name in sorted(found) if found[name]}


def _mappings(
    mappings: Sequence[str | AbstractHistogramMapping], layout: Layout
) -> tuple[AbstractHistogramMapping, ...]:
    """Read mappings, and check that the channels have what they name."""
    mappings = [mappings] if isinstance(mappings, str) else mappings
    found: dict[str, AbstractHistogramMapping] = {}
    for one in mappings:
        is_one = isinstance(one, AbstractHistogramMapping)
        mapping = one if is_one else parse_mapping(one)
        try:
            mapping.axes(layout)
        except UnknownKeyError as error:
            raise UnknownKeyError(f"mapping {mapping.key!r}: {error}") from error
        found[mapping.key] = mapping
    return tuple(found.values())


__all__ = ["COMMA", "Pair", "Pairs", "Questions", "questions_of"]
