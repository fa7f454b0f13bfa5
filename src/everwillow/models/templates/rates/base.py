"""Base classes of parameter models: rates of processes and their parameters."""

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import (
    ArgumentValueError,
    ConflictError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow.likelihood.histograms import Layout


Values: TypeAlias = Float[Array, " parameters"]
"""The values of the parameters of a model, in their order."""

Rates: TypeAlias = Float[Array, "processes bins"]
"""What multiplies each process in each bin of all channels."""


@dataclass(frozen=True, slots=True)
class RateParameter:
    """A parameter of a rate, on its physical scale.

    Attributes:
        start: The start value of fits, which is the nominal value.
        lower: The lower bound; 0 for a strength that cannot be negative.
        upper: The upper bound.
        width: The width of a Gaussian constraint around `start`; None without one.
        interest: Whether it is a parameter of interest.
        groups: The names of its groups for impacts, like those of systematics.
    """

    start: float
    lower: float = -np.inf
    upper: float = np.inf
    width: float | None = None
    interest: bool = True
    groups: tuple[str, ...] = ()


def strength(*, negative: bool, interest: bool) -> RateParameter:
    """Return a factor of nominal yields, with a lower bound of 0 unless negative."""
    return RateParameter(1.0, -np.inf if negative else 0.0, interest=interest)


class AbstractParameterModel(eqx.Module):
    """Rates that multiply the nominal yields, as functions of a few parameters.

    To write a parameter model, provide `layout` as a field and implement two methods.
    """

    layout: eqx.AbstractVar[Layout]

    @abc.abstractmethod
    def parameters(self) -> Mapping[str, RateParameter]:
        """Return the parameters by name; each is a scalar."""

    @abc.abstractmethod
    def rates(self, params: Mapping[str, Array]) -> Rates:
        """Return the factor of each process in each bin of all channels.

        Args:
            params: The values of `parameters` by name; others are ignored.
        """

    def with_starts(self, starts: Mapping[str, float]) -> "AbstractParameterModel":
        """Return the model with other start values, which are its nominal values, too.

        A fit starts there, and Asimov data and toys before a fit are made there, for
        example with a signal of strength 2. The rates are the same functions of the
        parameters. A constraint is shifted and keeps its width. The effects of additive
        systematics (``TemplateBuilder("normal")``) are in units of the nominal rates:
        with these, other start values change the likelihood.

        Args:
            starts: Start values on the physical scale by name; others do not change.

        Raises:
            UnknownKeyError: If there is no such parameter.
            ArgumentValueError: If a value is not finite or is outside the bounds.

        Example:
            >>> from everwillow.likelihood.histograms import Channel
            >>> from everwillow.models.templates.rates import Strengths
            >>> layout = Layout((Channel("ch0", ()),), ("signal",))
            >>> Strengths(layout, "signal").with_starts({"signal": 2.0}).parameters()
            {'signal': RateParameter(start=2.0, lower=0.0, upper=inf, width=None,
            interest=True, groups=())}
        """
        table = dict(self.parameters())
        for name, value in starts.items():
            if name not in table:
                raise unknown_key(name, table, where="with_starts")
            known, number = table[name], float(value)
            if not (np.isfinite(number) and known.lower <= number <= known.upper):
                raise ArgumentValueError(
                    f"with_starts: {name!r} cannot start at {number}, it is bounded to "
                    f"[{known.lower}, {known.upper}]."
                )
            table[name] = dataclasses.replace(known, start=number)
        return _Restarted(self, ParameterTable(table))


@final
class ParameterTable:
    """The parameters of a model in their order.

    Two tables are equal if their names are equal, as start values and bounds are not
    part of the compiled program. The hash is computed once, since tables may be long.

    Args:
        parameters: The parameters by name; or pairs of a name and its parameter.

    Attributes:
        names: The names.

    Raises:
        ConflictError: If a name appears twice.
    """

    __slots__ = ("_hash", "_parameters", "names")

    def __init__(
        self, parameters: Mapping[str, RateParameter] | list[tuple[str, RateParameter]]
    ) -> None:
        pairs = (
            list(parameters.items())
            if isinstance(parameters, Mapping)
            else list(parameters)
        )
        self._parameters = dict(pairs)
        if len(self._parameters) != len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConflictError(
                f"The parameters {twice} would stand for two things each. Give the "
                "models or the groups other names."
            )
        self.names = tuple(self._parameters)
        self._hash = hash(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParameterTable) and self.names == other.names

    def __hash__(self) -> int:
        return self._hash

    def parameters(self) -> dict[str, RateParameter]:
        """Return the parameters by name."""
        return dict(self._parameters)


class AbstractVectorModel(AbstractParameterModel):
    """A model whose rates are computed from one vector of all its parameters.

    This is the base of all models of this package: the traced program does not grow
    with the number of parameters.

    Attributes:
        table: The parameters, in the order of the vector.
    """

    table: eqx.AbstractVar[ParameterTable]

    def parameters(self) -> Mapping[str, RateParameter]:
        """Return the parameters by name; each is a scalar."""
        return self.table.parameters()

    def rates(self, params: Mapping[str, Array]) -> Rates:
        """Return the factor of each process in each bin of all channels.

        Args:
            params: The values of `parameters` by name; others are ignored.

        Raises:
            UnknownKeyError: If a parameter is missing.
        """
        for name in self.table.names:
            if name not in params:
                raise unknown_key(name, params, where="rates")
        kind = jnp.result_type(float)
        values = [jnp.asarray(params[name], kind) for name in self.table.names]
        return self.vector_rates(jnp.stack(values) if values else jnp.zeros(0, kind))

    @abc.abstractmethod
    def vector_rates(self, values: Values) -> Rates:
        """Return the rates from the values of `parameters`, in their order."""


class AbstractStoredModel(AbstractVectorModel):
    """A vector model that stores its layout and its parameters."""

    layout: Layout = eqx.field(static=True)
    table: ParameterTable = eqx.field(static=True)


@final
class _Restarted(AbstractVectorModel):
    """A model with other start values."""

    model: AbstractParameterModel
    table: ParameterTable = eqx.field(static=True)

    def __init__(self, model: AbstractParameterModel, table: ParameterTable) -> None:
        self.model = model
        self.table = table

    @property
    def layout(self) -> Layout:
        """The channels and processes."""
        return self.model.layout

    def vector_rates(self, values: Values) -> Rates:
        """Return the rates of the original model."""
        return rates_of(self.model, values)


def rates_of(model: AbstractParameterModel, values: Values) -> Rates:
    """Evaluate any parameter model from one vector.

    Args:
        model: The model.
        values: The values of its `parameters`, in their order.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> from everwillow.models.templates.rates import Strengths
        >>> layout = Layout((Channel("ch0", ()),), ("signal",))
        >>> rates_of(Strengths(layout, "signal"), jnp.array([1.5]))
        Array([[1.5]], dtype=float64)
    """
    if isinstance(model, AbstractVectorModel):
        return model.vector_rates(values)
    return model.rates(
        {name: values[place] for place, name in enumerate(model.parameters())}
    )


def check_rates(model: AbstractParameterModel) -> None:
    """Check that a model returns one rate for each process in each bin.

    JAX clips indices that are out of range, so that the last one of too few rates would
    be repeated.

    Raises:
        ShapeMismatchError: If the rates have another shape, or a parameter is not a
            scalar.
    """
    table, layout = model.parameters(), model.layout
    arrays = [name for name, entry in table.items() if np.ndim(entry.start)]
    if arrays:
        raise ShapeMismatchError(
            f"parameters: each is a scalar, and {arrays[0]!r} starts at an array."
        )
    values = jax.ShapeDtypeStruct((len(table),), jnp.result_type(float))
    returned = jax.eval_shape(lambda v: jnp.asarray(rates_of(model, v)), values).shape
    expected = len(layout.processes), layout.bins
    if returned != expected:
        raise ShapeMismatchError(
            f"parameters: the rates of {type(model).__name__} have the shape "
            f"{returned}, and {expected} is needed: a row for each process, a column "
            "for each bin of all channels, masked ones included."
        )


__all__ = [
    "AbstractParameterModel",
    "AbstractStoredModel",
    "AbstractVectorModel",
    "ParameterTable",
    "RateParameter",
    "Rates",
    "Values",
    "check_rates",
    "rates_of",
]
