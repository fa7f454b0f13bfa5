"""A description of every parameter of a model or a combination."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everwillow._errors import ArgumentTypeError, unknown_key
from everwillow._html import Part, Table, html_of, text_of
from everwillow._tree import format_leaf
from everwillow._typing import Key
from everwillow.combination._text import bound_text, constraint_text, key_text
from everwillow.combination.combined import CombinedModel
from everwillow.model import AbstractModel, Bound
from everwillow.model.constraint_terms import constrained_keys
from everwillow.parameters import AbstractConstraint, MultivariateNormal
from everwillow.parameters.base import is_concrete
from everwillow.statelib import State
from everwillow.statelib.state import state_parts


_SHOWN_USERS = 4
_SHOWN_CORRELATIONS = 12


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """The properties of one parameter.

    Attributes:
        key: Its key.
        used_by: By model name (``"atlas/sub"`` in a combination of combinations), the
            name that the parameter has in that model's own likelihood.
        start: The start value.
        bounds: Its bound, or None.
        constraint: The constraint that it appears in, or None.
        fixed: The value at which it is fixed, or None.
    """

    key: Key
    used_by: dict[str, Key]
    start: Any
    bounds: Bound | None
    constraint: AbstractConstraint | None
    fixed: Any


@dataclass(frozen=True, slots=True)
class Description:
    """The parameters of a model or a combination; prints as tables.

    Attributes:
        parameters: One `ParameterDescription` each, in State order.
        correlations: The correlation of each pair of parameters that a joint Gaussian
            constrains, without zeros; traced ones are left out.
    """

    parameters: tuple[ParameterDescription, ...]
    correlations: dict[tuple[Key, Key], float] = field(default_factory=dict)

    def __getitem__(self, key: Key) -> ParameterDescription:
        """Return the description of the parameter `key`."""
        for parameter in self.parameters:
            if parameter.key == key:
                return parameter
        raise unknown_key(key, [p.key for p in self.parameters], where="describe")

    def __str__(self) -> str:
        table, *others = self._parts()
        return "\n\n".join([str(table), *([text_of(others)] if others else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        rows = [
            (
                key_text(p.key),
                format_leaf(p.start)
                + ("" if p.fixed is None else f" (fixed at {format_leaf(p.fixed)})"),
                bound_text(p.bounds),
                constraint_text(p.constraint),
                _users(p),
            )
            for p in self.parameters
        ]
        header = ("parameter", "start", "bounds", "constraint", "used by")
        used = [i for i in range(5) if i == 0 or any(row[i] for row in rows)]
        table = Table([[row[i] for i in used] for row in [header, *rows]])
        return [table, *self._correlation_table()]

    def _correlation_table(self) -> list[Part]:
        """Return a table of the largest correlations; an empty list without any."""
        if not self.correlations:
            return []
        pairs = sorted(self.correlations.items(), key=lambda item: -abs(item[1]))
        shown = pairs[:_SHOWN_CORRELATIONS]
        rows = [(key_text(a), key_text(b), f"{rho:+.3g}") for (a, b), rho in shown]
        table = Table([("correlated", "with", "correlation"), *rows])
        hidden = len(pairs) - len(shown)
        return [table, *([f"... and {hidden} smaller ones"] if hidden else [])]


def describe(combined: AbstractModel | State) -> Description:
    """Describe each parameter: which models use it, its names there, its properties.

    Args:
        combined: A combination, any other Model, or a State, such as that of `prepare`.

    Returns:
        A `Description`; ``print`` it for a table, and one of the correlations of joint
        constraints, such as those that `combine` makes of ``correlate=``. The
        likelihoods of a merged State are called by their position, ``"model0"`` and so
        on; a Model alone is ``"model"``.

    Raises:
        ArgumentTypeError: If it is neither a Model nor a State.

    Example:
        >>> from everwillow.statelib import merge, rename
        >>> a = State.from_pytree({"mass": 125.0, "scale": 1.0})
        >>> b = rename(State.from_pytree({"m": 125.0}), {"m": "mass"})
        >>> describe(merge(a, b))
        parameter  start  used by
        mass       125    model0, model1 (m)
        scale      1      model0
    """
    if isinstance(combined, State):
        return Description(_described(combined, _piece_names(combined, ""), {}, {}, {}))
    if not isinstance(combined, AbstractModel):
        raise ArgumentTypeError(
            "describe: expected a Model, a combination or a State, got "
            f"{type(combined).__name__}."
        )
    constraints = {
        key: constraint
        for name, constraint in combined.constraints.items()
        for key in constrained_keys(name, constraint)
    }
    users = _model_names(combined, "")
    return Description(
        _described(combined.state, users, combined.bounds, constraints, combined.fixed),
        _correlations(combined.constraints.values()),
    )


def _described(
    state: State, users: list[str], bounds: Any, constraints: Any, fixed: Any
) -> tuple[ParameterDescription, ...]:
    return tuple(
        ParameterDescription(
            key=key,
            used_by={users[i]: original for i, original in state.origins(key)},
            start=value,
            bounds=bounds.get(key),
            constraint=constraints.get(key),
            fixed=fixed.get(key),
        )
        for key, value in state.items()
    )


def _correlations(
    constraints: Iterable[AbstractConstraint],
) -> dict[tuple[Key, Key], float]:
    """Return the correlations of all joint Gaussians, without zeros."""
    found: dict[tuple[Key, Key], float] = {}
    for joint in constraints:
        if not isinstance(joint, MultivariateNormal):
            continue
        if not is_concrete(joint.covariance):
            continue
        matrix = np.asarray(joint.covariance, float)
        width = np.sqrt(np.diagonal(matrix))
        matrix = matrix / np.outer(width, width)
        for i, j in zip(*np.nonzero(np.triu(matrix, 1)), strict=True):
            found[joint.keys[i], joint.keys[j]] = float(matrix[i, j])
    return found


def _model_names(model: AbstractModel, path: str) -> list[str]:
    """Return a name for each pytree that the model takes."""
    if not isinstance(model, CombinedModel):
        return _piece_names(model.state, path)
    return [
        piece
        for name, part in model.models.items()
        for piece in _model_names(part, f"{path}/{name}" if path else name)
    ]


def _piece_names(state: State, path: str) -> list[str]:
    if not state.is_merged:
        return [path or "model"]
    stem = f"{path}/" if path else "model"
    return [f"{stem}{i}" for i in range(len(state_parts(state)[0].pieces))]


def _users(parameter: ParameterDescription) -> str:
    users = [
        name if original == parameter.key else f"{name} ({key_text(original)})"
        for name, original in parameter.used_by.items()
    ]
    if len(users) > _SHOWN_USERS:
        more = len(users) - _SHOWN_USERS + 1
        users = [*users[: _SHOWN_USERS - 1], f"{more} more"]
    return ", ".join(users)
