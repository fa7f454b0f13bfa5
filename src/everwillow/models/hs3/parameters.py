"""Collection of the parameters and constraints of a likelihood while it is read."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from everwillow._errors import ConflictError
from everwillow.likelihood.binned.spec import ConstraintSpec, ParameterSpec
from everwillow.models._document import Node, Report
from everwillow.models.hs3.selection import Selection


Role = Literal["factor", "alpha", "gamma", "free"]
_START = {"factor": 1.0, "alpha": 0.0, "gamma": 1.0}
_RELATIVE = 1e-9  # numbers that went through text agree to this


@dataclass(frozen=True)
class Joint:
    """A Gaussian auxiliary measurement of several parameters.

    Attributes:
        parameters: The names of the parameters, each once.
        aux: The observed values.
        covariance: The covariance matrix of the measurement.
    """

    parameters: tuple[str, ...]
    aux: np.ndarray
    covariance: np.ndarray


@dataclass
class _Draft:
    role: Role
    size: int | None
    node: Node
    constraint: ConstraintSpec | None = None
    origin: str = ""
    fixed: bool = False
    explicit: bool = False


@dataclass
class Parameters:
    """Collects parameters and their constraints in the order of first use.

    Attributes:
        report: The report to which assumptions are added.
        joint: Measurements of several parameters, by name of the distribution.
    """

    report: Report
    joint: dict[str, Joint] = field(default_factory=dict)
    _drafts: dict[str, _Draft] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self._drafts

    def names(self) -> tuple[str, ...]:
        """Return the names so far."""
        return tuple(self._drafts)

    def require(
        self, name: str, role: Role, *, node: Node, size: int | None = None
    ) -> None:
        """Register a parameter that the likelihood needs.

        Args:
            name: Its name.
            role: Its use, which determines the default of its start value.
            node: The place where it is needed.
            size: Number of elements of an array, None for a scalar.
        """
        draft = self._drafts.setdefault(name, _Draft(role, size, node))
        if draft.size != size:
            node.refuse(
                f"the parameter {name!r} has {size or 1} elements here and "
                f"{draft.size or 1} at {draft.node.where}."
            )
        # A systematic starts at 0, also if its parameter has other uses.
        if role == "alpha" or draft.role == "free":
            draft.role = role

    def fix(self, name: str) -> None:
        """Hold a parameter at its start value."""
        self._drafts[name].fixed = True

    def constrain(
        self, name: str, spec: ConstraintSpec, *, origin: str, explicit: bool = False
    ) -> bool:
        """Constrain a parameter, once.

        Args:
            name: The name of a parameter that was registered before.
            spec: The auxiliary measurement.
            origin: The place of the constraint, for messages.
            explicit: Whether it comes from a distribution, which outranks a modifier.

        Returns:
            False if another distribution constrains the parameter already, so that this
            one has to become a term.

        Raises:
            ConflictError: If two modifiers imply different constraints.
        """
        draft = self._drafts[name]
        if draft.constraint is None:
            draft.constraint, draft.origin, draft.explicit = spec, origin, explicit
            return True
        if explicit and draft.explicit and origin != draft.origin:
            return False
        if _same(draft.constraint, spec):
            if explicit != draft.explicit:
                self._once(name)
            draft.explicit = draft.explicit or explicit
            return True
        if explicit == draft.explicit:
            raise ConflictError(
                f"{origin}: this constrains {name!r} with {_text(spec)}, but "
                f"{draft.origin} with {_text(draft.constraint)}. A parameter has one "
                "constraint; make them agree, or rename one of the parameters."
            )
        self._once(name)
        self.report.say(
            f"{name!r}: the modifier and the distribution give different constraints "
            f"({_text(draft.constraint)} and {_text(spec)}); that of the "
            "distribution is used."
        )
        if explicit:
            draft.constraint, draft.origin, draft.explicit = spec, origin, True
        return True

    def constrain_jointly(self, name: str, joint: Joint) -> None:
        """Constrain several parameters by one distribution, once.

        It outranks the constraints that modifiers imply for its parameters.
        """
        self.joint[name] = joint

    def _once(self, name: str) -> None:
        self.report.collect(
            "A modifier and a distribution both constrain {names}; the constraint is "
            "counted once.",
            name,
        )

    def specs(self, selection: Selection) -> tuple[ParameterSpec, ...]:
        """Return the parameters with start values, bounds and constraints."""
        for joint in self.joint.values():
            for name in joint.parameters:
                draft = self._drafts[name]
                if draft.constraint is not None and not draft.explicit:
                    draft.constraint = None
                    self._once(name)
        return tuple(
            self._spec(name, draft, selection) for name, draft in self._drafts.items()
        )

    def _spec(self, name: str, draft: _Draft, selection: Selection) -> ParameterSpec:
        lower, upper = self._bounds(name, draft, selection)
        point = selection.points.get(name)
        fixed = draft.fixed or (point is not None and point.const)
        if point is not None:
            start = point.value
        elif draft.role in _START:
            start = _START[draft.role]
            self.report.collect(
                f"No point has a value for {{names}}: the start is {start:g}.", name
            )
        elif np.isfinite(lower) and np.isfinite(upper):
            start = 0.5 * (lower + upper)
            self.report.collect(
                "No point has a value for {names}: they start in the middle of their "
                "ranges.",
                name,
            )
        else:
            draft.node.refuse(
                f"the parameter {name!r} has no start value: add it to "
                "'parameter_points'."
            )
        if lower == upper:
            fixed, start = True, lower
            self.report.collect("The ranges of {names} are points: fixed there.", name)
            lower, upper = -np.inf, np.inf
        elif not lower <= start <= upper and not fixed:
            inside = min(max(start, lower), upper)
            self.report.collect(
                "The start values of {names} are outside of their ranges and moved to "
                "the nearest end.",
                name,
            )
            start = inside
        return ParameterSpec(
            name,
            start if draft.size is None else np.full(draft.size, start),
            lower,
            upper,
            fixed,
            draft.constraint,
        )

    def _bounds(
        self, name: str, draft: _Draft, selection: Selection
    ) -> tuple[float, float]:
        span = selection.bounds.get(name)
        positive = draft.role == "gamma" or (
            draft.constraint is not None and draft.constraint.kind != "normal"
        )
        if span is None:
            point = selection.points.get(name)
            if point is None or not point.const:
                self.report.collect(
                    "No domain has a range for {names}: factors of single bins are "
                    "not negative, the others are not limited.",
                    name,
                )
            return (0.0 if positive else -np.inf), np.inf
        return span


def _same(a: ConstraintSpec, b: ConstraintSpec) -> bool:
    return (
        a.kind == b.kind
        and np.shape(a.aux) == np.shape(b.aux)
        and np.shape(a.width) == np.shape(b.width)
        and np.allclose(a.aux, b.aux, rtol=_RELATIVE, atol=_RELATIVE)
        and np.allclose(a.width, b.width, rtol=_RELATIVE, atol=0.0)
    )


def _text(spec: ConstraintSpec) -> str:
    def shown(value: float | np.ndarray) -> str:
        values = np.ravel(value)
        return f"{values[0]:.6g}" + (", ..." if values.size > 1 else "")

    width = {"normal": "sigma", "poisson": "tau", "lognormal": "kappa"}[spec.kind]
    return f"{spec.kind} {shown(spec.aux)}, {width} {shown(spec.width)}"
