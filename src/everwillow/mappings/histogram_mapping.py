"""What a mapping of histograms is: a function of parameters and yields, with axes."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import PyTree

from everwillow.likelihood.histograms import Axis, Layout, Yields


EVENTS = "Events"


class AbstractHistogramMapping(eqx.Module):
    """A differentiable function of the parameters and yields of a template fit.

    It is the `fn` of `everwillow.mappings.prefit`, `everwillow.mappings.postfit` and
    `everwillow.mappings.variations`. Its fields are static: two mappings that say the
    same are one to JAX, and nothing is traced again.

    Implementing a mapping: subclass this, keep arrays out of the fields, and look names
    up in ``yields.layout``, which is known while tracing. A function is enough in most
    cases, see `everwillow.mappings.custom.Custom`.

    Attributes:
        quantity: What the values are, for axes of plots. What is ``"Events"`` may be
            divided by the widths of bins.
        ndof_reduction: How many of its values follow from the others, such as the last
            fraction.
    """

    quantity: ClassVar[str] = "Value"
    ndof_reduction: ClassVar[int] = 0

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """How it is written; `everwillow.mappings.parse_mapping` reads it."""

    @abc.abstractmethod
    def __call__(self, params: Any, yields: Yields) -> PyTree:
        """Return the values: an array with one dimension for each axis.

        Mappings of several histograms return dictionaries of arrays.

        Args:
            params: The parameters.
            yields: What is expected there.
        """

    @abc.abstractmethod
    def axes(self, layout: Layout) -> Any:
        """Return the axes of the values, as a tuple in the place of each array.

        None for a function that does not tell them.

        Raises:
            UnknownKeyError: If the mapping names what `layout` does not have.
            ArgumentValueError: If it asks for bins that `layout` does not have.
        """

    @abc.abstractmethod
    def has_data(self, layout: Layout) -> bool:
        """Return whether data can be mapped too.

        They cannot if a channel is masked, or processes are selected, which data do not
        tell apart.
        """

    def of_processes(self, params: Any, yields: Yields) -> Any:
        """Return what each process contributes, with a leading axis of processes.

        None, the default, if the values are no sums over processes.
        """
        del params, yields

    def process_names(self, layout: Layout) -> Any:
        """Return the processes of `of_processes`, in the structure that it has."""
        del layout

    def __repr__(self) -> str:
        """Return how it is written."""
        return f"<{self.key}>"


def integer_axes(shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return axes ``a0``, ``a1``, ... that number the entries of an array.

    Example:
        >>> [axis.labels for axis in integer_axes((2, 3))]
        [(0, 1), (0, 1, 2)]
    """
    return tuple(
        Axis(f"a{i}", labels=tuple(range(size))) for i, size in enumerate(shape)
    )
