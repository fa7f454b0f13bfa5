"""The joint likelihood of functions, without models."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import equinox as eqx

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._typing import Scalar
from everwillow.combination._pieces import by_name, piece_count, side_by_side, slices
from everwillow.model.entries import as_node, checked_scalar
from everwillow.objective import Evaluation, curvature_hook, evaluate
from everwillow.statelib import State, merge
from everwillow.statelib.state import as_state


@final
class Prepared(eqx.Module):
    """The sum of several negative log-likelihoods, made by `prepare`.

    It compares by functions and structure, so that preparing the same functions again
    compiles nothing.

    Attributes:
        nlls: The individual likelihoods.
        counts: For each likelihood the number of its pytrees in the tuple, if its State
            was merged; None if it takes a single pytree.
        names: The names of the likelihoods, if they were given by name.
        separate_observations: Whether each gets an observation of its own.
    """

    nlls: tuple[Callable[..., Any], ...]
    counts: tuple[int | None, ...] = eqx.field(static=True)
    names: tuple[str, ...] | None = eqx.field(static=True)
    separate_observations: bool = eqx.field(static=True)

    def __call__(self, params: tuple[Any, ...], observation: Any) -> Scalar:
        """Return the sum of -ln L.

        Args:
            params: Tuple of the individual pytrees, ``state.to_pytree()``.
            observation: The observation of every likelihood; with
                `separate_observations` a sequence with one entry each, or a mapping by
                name.

        Raises:
            ArgumentTypeError: If an argument has another form.
            ArgumentValueError: If its length is wrong, or a name is missing.
        """
        terms = [
            checked_scalar(nll(part, data), where=f"likelihood {self._label(i)}")
            for i, (nll, part, data) in enumerate(self._parts(params, observation))
        ]
        return sum(terms[1:], start=terms[0])

    @property
    def curvature(self) -> Callable[[Any, Any], Evaluation] | None:
        """The second-order evaluation, or None if no likelihood offers its own.

        Vectors are in the order of ``ravel_pytree(params)``, where a shared parameter
        appears once for each likelihood that has it.
        """
        if all(curvature_hook(nll) is None for nll in self.nlls):
            return None
        return self._curvature

    def _curvature(self, params: tuple[Any, ...], observation: Any) -> Evaluation:
        return side_by_side(
            [evaluate(*part) for part in self._parts(params, observation)]
        )

    def _parts(self, params: Any, observation: Any) -> list[tuple[Any, Any, Any]]:
        parts = slices(params, self.counts)
        return list(zip(self.nlls, parts, self._observations(observation), strict=True))

    def _observations(self, observation: Any) -> Sequence[Any]:
        if not self.separate_observations:
            return [observation] * len(self.nlls)
        if self.names is not None:
            return by_name(observation, self.names, where="observation")
        if not isinstance(observation, (list, tuple)):
            raise ArgumentTypeError(
                "observation: expected a list or tuple with one entry for each of the "
                f"{len(self.nlls)} likelihoods, got {type(observation).__name__}."
            )
        if len(observation) != len(self.nlls):
            raise ArgumentValueError(
                f"observation: got {len(observation)} entries for {len(self.nlls)} "
                "likelihoods; there must be one each, in order."
            )
        return observation

    def _label(self, position: int) -> str:
        return repr(position if self.names is None else self.names[position])


def prepare(
    nlls: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]],
    states: Sequence[State] | Mapping[str, State],
    *,
    separate_observations: bool = False,
) -> tuple[Prepared, State]:
    """Join likelihoods into one; parameters of equal keys become one parameter.

    The functions are opaque: if two of them contain the constraint of a parameter that
    they share, it is counted twice. Leave it out of one of them, or build Models and
    use `combine`, which counts it once.

    The result of `prepare` may be prepared again. The tuple of pytrees stays flat, and
    the inner combination receives its slice of it.

    Args:
        nlls: ``nll(params, observation)`` each, in a sequence or by name. Each is
            called with its own pytree, under its own original names.
        states: The State of each, in the same order or under the same names.
        separate_observations: Give each likelihood its own observation: the joint one
            takes a sequence with one entry for each, in order, or a mapping if the
            likelihoods were given by name. Otherwise all get the same.

    Returns:
        The joint likelihood ``nll(params, observation)``, where `params` is the tuple
        of the individual pytrees, and the merged State, whose ``to_pytree()`` is that
        tuple. Where start values of a shared parameter differ the last one is used.

    Raises:
        ArgumentTypeError: If something is no function or no State.
        ArgumentValueError: If there is none, or lengths or names differ.
        ShapeMismatchError: If a shared parameter has several shapes.

    Example:
        >>> a = State.from_pytree({"mass": 125.0})
        >>> b = State.from_pytree({"mass": 125.0, "scale": 1.0})
        >>> nll, state = prepare(
        ...     [
        ...         lambda p, data: (p["mass"] - data) ** 2,
        ...         lambda p, data: (p["mass"] * p["scale"] - data) ** 2,
        ...     ],
        ...     [a, b],
        ... )
        >>> state
        State(mass=125.0, scale=1.0)
        >>> print(nll(state.to_pytree(), 124.0))
        2.0
    """
    names = None
    if isinstance(nlls, Mapping):
        if not isinstance(states, Mapping):
            raise ArgumentTypeError(
                "prepare: the likelihoods are given by name, so states must be a "
                f"mapping too, got {type(states).__name__}."
            )
        names = tuple(nlls)
        states = by_name(states, names, where="prepare: states")
        nlls = list(nlls.values())
    nlls, states = _listed(nlls, "nlls"), _listed(states, "states")
    if len(nlls) != len(states):
        raise ArgumentValueError(
            f"prepare: got {len(nlls)} likelihoods and {len(states)} States; there "
            "must be one State for each likelihood."
        )
    if not nlls:
        raise ArgumentValueError("prepare: give at least one likelihood and its State.")
    states = [
        as_state(state, where=f"states[{i if names is None else names[i]!r}]")
        for i, state in enumerate(states)
    ]
    labels = range(len(nlls)) if names is None else names
    prepared = Prepared(
        nlls=tuple(
            as_node(nll, name=f"prepare: nlls[{label!r}]")
            for nll, label in zip(nlls, labels, strict=True)
        ),
        counts=tuple(piece_count(state) for state in states),
        names=names,
        separate_observations=separate_observations,
    )
    return prepared, merge(*states)


def _listed(values: Any, name: str) -> list[Any]:
    # A State is a mapping; a single function is a frequent mistake.
    if isinstance(values, (Mapping, str)) or not isinstance(values, Sequence):
        raise ArgumentTypeError(
            f"prepare: {name} must be a list or tuple (or both nlls and states "
            f"mappings by name), got {type(values).__name__}."
        )
    return list(values)
