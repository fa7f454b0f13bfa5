"""The terms of a likelihood of HS3 that are not of HistFactory.

`build_terms` pairs distributions with data and makes one term of each pair, and one of
each auxiliary distribution. The -ln L of the likelihood is the sum of their `nll`.

This is the seam to the reader of documents: dictionaries by name go in, as they stand
in a document, terms come out.
"""

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import equinox as eqx
from jaxtyping import Array, Float

from everwillow._typing import Scalar


Values: TypeAlias = Mapping[str, Float[Array, "..."]]
"""The values of parameters by name, scalars."""

Datum: TypeAlias = str | float | Sequence[float]
"""The name of a data set, or the observed numbers themselves."""


class AbstractTerm(eqx.Module):
    """One factor of a likelihood: a distribution and what was observed.

    Attributes:
        name: Of the distribution.
        parameters: Names of the free symbols that it needs, in order of appearance;
            functions are resolved, observed quantities are left out.
        data: What was observed, a pytree of arrays: an argument of `nll`.
        notes: What was assumed, one sentence each, for the report of the reader.
    """

    name: eqx.AbstractVar[str]
    parameters: eqx.AbstractVar[tuple[str, ...]]
    data: eqx.AbstractVar[Any]
    notes: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def nll(self, values: Values, data: Any) -> Scalar:
        """Return -ln L.

        Args:
            values: Values of `parameters`; others are not looked at.
            data: Structured like `data`; the number of events may differ.
        """

    @abc.abstractmethod
    def expected(self, values: Values) -> Any:
        """Return the Asimov data, structured like `data`."""

    @abc.abstractmethod
    def sample(self, values: Values, key: Array) -> Any:
        """Draw data, structured like `data`."""


# `UnbinnedTerm.data` is {"entries": (events, axes), "weights": (events,)}; toys are
#   padded with entries of weight 0 up to a fixed `capacity`.
# `BinnedTerm.data` is an array (bins,), with bins of several axes in row-major order.
# `PointTerm.data` is an array (variates,): a point, numbers given inline, or the global
#   observables of an auxiliary distribution; of shape (0,) where nothing is observed
#   (a penalty in parameters only).


def build_terms(
    pairs: Sequence[tuple[str, Datum]],
    *,
    distributions: Mapping[str, Mapping[str, Any]],
    functions: Mapping[str, Mapping[str, Any]] | None = None,
    data: Mapping[str, Mapping[str, Any]] | None = None,
    aux_distributions: Sequence[str] = (),
    observed: Mapping[str, float] | None = None,
    known: Iterable[str] | None = None,
    capacity: int | None = None,
) -> tuple[AbstractTerm, ...]:
    """Make the terms of a likelihood.

    Args:
        pairs: Distribution and datum of each pair.
        distributions: The distributions of the document by name.
        functions: Its functions by name.
        data: Its data sets by name.
        aux_distributions: Names of auxiliary distributions; each is counted once,
            however often it is named, also as a factor of a product.
        observed: Values of the constants that can be global observables, by name: an
            auxiliary distribution whose variate is among them has it as its data.
        known: Names of all parameters of the document; another name is an error. Any
            name is a parameter if None.
        capacity: Room for events in unbinned toys; twice the observed events plus a
            hundred if None.

    Returns:
        The terms of `pairs` in order, then those of auxiliary distributions.

    Raises:
        ArgumentValueError: If a definition cannot be used.
        UnknownKeyError: If a name is not known.
    """
    raise NotImplementedError
