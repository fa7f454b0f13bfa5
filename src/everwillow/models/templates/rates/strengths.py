"""Parameters that scale whole processes: signal strengths, and mixtures."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.histograms import Layout
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.rates._cells import Names, names_of, process_rows
from everwillow.models.templates.rates.base import (
    AbstractParameterModel,
    AbstractStoredModel,
    ParameterTable,
    RateParameter,
    Rates,
    Values,
    check_rates,
    strength,
)


Pair: TypeAlias = tuple[Names, Names]
"""The processes that a fraction scales, and those that one minus it scales."""


@final
class Fixed(AbstractStoredModel):
    """A model without parameters, whose rates are all 1.

    Args:
        layout: Channels and processes.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> layout = Layout((Channel("ch0", ()),), ("signal", "background"))
        >>> Fixed(layout).rates({})
        Array([[1.],
               [1.]], dtype=float64)
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.table = ParameterTable({})

    def vector_rates(self, values: Values) -> Rates:
        """Return ones."""
        return jnp.ones((len(self.layout.processes), self.layout.bins), values.dtype)


@final
class Strengths(AbstractStoredModel):
    """One strength for each signal: its rate in all bins, which starts at 1.

    A strength is the yield in units of the nominal one, in fitted and masked channels.

    Args:
        layout: Channels and processes.
        processes: The signals.
        prefix: The prefix of the names of strengths: with ``"mu_"`` the strength of
            ``ttH`` is called ``mu_ttH``, without it ``ttH``.
        negative: Whether strengths may be negative; without it 0 is their lower bound.
        interest: Whether they are parameters of interest.

    Raises:
        UnknownKeyError: If there is no such process.
        ArgumentValueError: If a process is repeated.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> layout = Layout((Channel("ch0", ()),), ("signal", "background"))
        >>> Strengths(layout, "signal").rates({"signal": 1.2})
        Array([[1.2],
               [1. ]], dtype=float64)
    """

    place: Int[Array | np.ndarray, " processes"]

    def __init__(
        self,
        layout: Layout,
        processes: Names,
        *,
        prefix: str = "",
        negative: bool = False,
        interest: bool = True,
    ) -> None:
        self.layout = layout
        place = np.zeros(len(layout.processes), np.int32)
        rows = process_rows(layout, processes)
        place[rows] = 1 + np.arange(len(rows), dtype=np.int32)
        self.place = place
        kind = strength(negative=negative, interest=interest)
        self.table = ParameterTable(
            [(f"{prefix}{name}", kind) for name in names_of(processes)]
        )

    def vector_rates(self, values: Values) -> Rates:
        """Return the strengths, and 1 for other processes."""
        return _rows(values, self.place, self.layout)


@final
class SharedStrengths(AbstractStoredModel):
    """Strengths of groups of processes.

    Args:
        layout: Channels and processes.
        groups: The processes that each strength scales, by the name of the strength. A
            process with two strengths, a common one and its own, needs a `Composite`.
        negative: Whether strengths may be negative; without it 0 is their lower bound.
        interest: Whether they are parameters of interest.

    Raises:
        UnknownKeyError: If there is no such process.
        ArgumentValueError: If a strength has no process, or a process two strengths.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> layout = Layout((Channel("ch0", ()),), ("ggH", "VBF", "background"))
        >>> SharedStrengths(layout, {"mu": ["ggH", "VBF"]}).rates({"mu": 2.0})
        Array([[2.],
               [2.],
               [1.]], dtype=float64)
    """

    place: Int[Array | np.ndarray, " processes"]

    def __init__(
        self,
        layout: Layout,
        groups: Mapping[str, Names],
        *,
        negative: bool = False,
        interest: bool = True,
    ) -> None:
        self.layout = layout
        place = np.zeros(len(layout.processes), np.int32)
        for number, processes in enumerate(groups.values(), 1):
            _claim(place, layout, processes, number)
        self.place = place
        kind = strength(negative=negative, interest=interest)
        self.table = ParameterTable(dict.fromkeys(groups, kind))

    def vector_rates(self, values: Values) -> Rates:
        """Return the strengths, and 1 for other processes."""
        return _rows(values, self.place, self.layout)


@final
class Mixture(AbstractStoredModel):
    """Fractions x: one group of processes is scaled by x, another by 1 - x.

    A fraction starts at 1, where the second group is scaled by 0; `with_starts` changes
    that.

    Args:
        layout: Channels and processes.
        pairs: The processes that x scales and those that 1 - x scales for each
            fraction; one process or several on each side. The keys of a mapping are the
            names of the fractions; otherwise these are ``<first>_<second>_mixing`` with
            the names of the processes.
        negative: Whether x and 1 - x may be negative, as in an extrapolation; without
            it x is bounded to [0, 1].
        interest: Whether they are parameters of interest.

    Raises:
        UnknownKeyError: If there is no such process.
        ArgumentValueError: If a side is empty, or a process is on two sides.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> layout = Layout((Channel("ch0", ()),), ("light", "heavy"))
        >>> Mixture(layout, [("light", "heavy")]).rates({"light_heavy_mixing": 0.7})
        Array([[0.7],
               [0.3]], dtype=float64)
    """

    place: Int[Array | np.ndarray, " processes"]

    def __init__(
        self,
        layout: Layout,
        pairs: Sequence[Pair] | Mapping[str, Pair],
        *,
        negative: bool = False,
        interest: bool = True,
    ) -> None:
        named = (
            list(pairs.items())
            if isinstance(pairs, Mapping)
            else [(_mixing(pair), pair) for pair in pairs]
        )
        self.layout = layout
        place = np.zeros(len(layout.processes), np.int32)
        for number, (_, (first, second)) in enumerate(named, 1):
            _claim(place, layout, first, number)
            _claim(place, layout, second, number + len(named))
        self.place = place
        lower, upper = (-np.inf, np.inf) if negative else (0.0, 1.0)
        kind = RateParameter(1.0, lower, upper, interest=interest)
        self.table = ParameterTable([(name, kind) for name, _ in named])

    def vector_rates(self, values: Values) -> Rates:
        """Return x and 1 - x, and 1 for other processes."""
        return _rows(jnp.concatenate([values, 1.0 - values]), self.place, self.layout)


def _mixing(pair: Pair) -> str:
    return "_".join([*names_of(pair[0]), *names_of(pair[1]), "mixing"])


def _claim(
    place: Int[np.ndarray, " processes"], layout: Layout, processes: Names, number: int
) -> None:
    """Assign a value to processes that have none yet."""
    rows = process_rows(layout, processes)
    if not rows.size:
        raise ArgumentValueError(
            "A parameter has no process to scale. Name at least one for each."
        )
    for row, name in zip(rows, names_of(processes), strict=True):
        if place[row]:
            raise ArgumentValueError(
                f"process {name!r} would follow two parameters. Give it one, or "
                "multiply two models in a Composite."
            )
        place[row] = number


def _rows(
    values: Float[Array, " values"],
    place: Int[Array | np.ndarray, " processes"],
    layout: Layout,
) -> Rates:
    """Return ``(1, *values)`` at the position of each process, equal in all bins."""
    pool = jnp.concatenate([jnp.ones(1, values.dtype), values])
    row = pool.at[place].get(mode="promise_in_bounds")
    return jnp.broadcast_to(row[:, None], (len(layout.processes), layout.bins))


def rate_model_of(
    spec: TemplateSpec,
    parameters: AbstractParameterModel
    | Callable[[Layout], AbstractParameterModel]
    | None,
) -> AbstractParameterModel:
    """Return the parameter model of a fit, with checks.

    Args:
        spec: The template fit.
        parameters: The parameter model, or a function of the layout that returns it;
            None for a strength for each signal.

    Raises:
        ArgumentTypeError: If it is neither a parameter model nor a function.
        ArgumentValueError: If it was made for other channels or processes.
        ShapeMismatchError: If it returns rates of another shape.
    """
    if parameters is None:
        return Strengths(spec.layout, spec.signals)
    model = parameters
    if not isinstance(model, AbstractParameterModel):
        model = model(spec.layout)
    if not isinstance(model, AbstractParameterModel):
        raise ArgumentTypeError(
            "parameters: expected an AbstractParameterModel or a function of the "
            f"layout that returns one, got {type(model).__name__}."
        )
    if model.layout != spec.layout:
        raise ArgumentValueError(
            "parameters: made for another layout of channels and processes. Make it "
            "with builder.layout after everything was booked, or give a function: "
            "parameters=lambda layout: Strengths(layout, ...)."
        )
    check_rates(model)
    return model


__all__ = ["Fixed", "Mixture", "SharedStrengths", "Strengths", "rate_model_of"]
