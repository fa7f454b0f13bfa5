"""A description of every parameter of a model or a combination."""

from dataclasses import dataclass
from typing import Any

from everwillow._errors import ArgumentTypeError, unknown_key
from everwillow._tree import format_leaf, format_table
from everwillow._typing import Key
from everwillow.combination._text import bound_text, constraint_text, key_text
from everwillow.combination.combined import CombinedModel
from everwillow.model import AbstractModel, Bound
from everwillow.model.constraint_terms import constrained_keys
from everwillow.parameters import AbstractConstraint
from everwillow.statelib import State
from everwillow.statelib.state import state_parts


_SHOWN_USERS = 4


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
    """The parameters of a model or a combination; prints as a table.

    Attributes:
        parameters: One `ParameterDescription` each, in State order.
    """

    parameters: tuple[ParameterDescription, ...]

    def __getitem__(self, key: Key) -> ParameterDescription:
        """Return the description of the parameter `key`."""
        for parameter in self.parameters:
            if parameter.key == key:
                return parameter
        raise unknown_key(key, [p.key for p in self.parameters], where="describe")

    def __str__(self) -> str:
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
        return format_table([[row[i] for i in used] for row in [header, *rows]])

    __repr__ = __str__


def describe(combined: AbstractModel | State) -> Description:
    """Describe each parameter: which models use it, its names there, its properties.

    Args:
        combined: A combination, any other Model, or a State, such as that of `prepare`.

    Returns:
        A `Description`; ``print`` it for a table. The likelihoods of a merged State are
        called by their position, ``"model0"`` and so on; a Model alone is ``"model"``.

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
        return _described(combined, _piece_names(combined, ""), {}, {}, {})
    if not isinstance(combined, AbstractModel):
        raise ArgumentTypeError(
            "describe: expected a Model, a combination or a State, got "
            f"{type(combined).__name__}."
        )
    return _described(
        combined.state,
        _model_names(combined, ""),
        combined.bounds,
        {
            key: constraint
            for name, constraint in combined.constraints.items()
            for key in constrained_keys(name, constraint)
        },
        combined.fixed,
    )


def _described(
    state: State, users: list[str], bounds: Any, constraints: Any, fixed: Any
) -> Description:
    return Description(
        tuple(
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
    )


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
