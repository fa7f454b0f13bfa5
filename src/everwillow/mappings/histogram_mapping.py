"""The base class of mappings of histograms: functions of parameters and yields."""

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
    `everwillow.mappings.variations`. Its fields are static, so mappings with equal
    fields share one compiled program.

    To implement a mapping, subclass this, keep arrays out of the fields, and look names
    up in ``yields.layout``, which is known while tracing. A function is enough in most
    cases, see `everwillow.mappings.custom.Custom`.

    Attributes:
        quantity: The name of the quantity, for axes of plots. Plots may divide
            ``"Events"`` by the widths of bins.
        ndof_reduction: The number of values that follow from the others, such as the
            last of several fractions.
    """

    quantity: ClassVar[str] = "Value"
    ndof_reduction: ClassVar[int] = 0

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """The text of the mapping, which `everwillow.mappings.parse_mapping` reads."""

    @abc.abstractmethod
    def __call__(self, params: Any, yields: Yields) -> PyTree:
        """Return the values: an array with one dimension for each axis.

        Mappings of several histograms return dictionaries of arrays.

        Args:
            params: The parameters.
            yields: The expected yields at these parameters.
        """

    @abc.abstractmethod
    def axes(self, layout: Layout) -> Any:
        """Return the axes of the values: a tuple in the place of each array.

        None if the axes are not known.

        Raises:
            UnknownKeyError: If `layout` lacks a channel, a process or an axis of it.
            ArgumentValueError: If `layout` lacks a bin of it.
        """

    @abc.abstractmethod
    def has_data(self, layout: Layout) -> bool:
        """Return whether the mapping can be applied to data.

        It cannot if a channel is masked or if processes are selected, since data are
        not divided into processes.
        """

    def of_processes(self, params: Any, yields: Yields) -> Any:
        """Return the contribution of each process, with a leading axis of processes.

        None, the default, if the values are not sums over processes.
        """
        del params, yields

    def process_names(self, layout: Layout) -> Any:
        """Return the names of the processes, in the structure of `of_processes`."""
        del layout

    def __repr__(self) -> str:
        """Return the text of the mapping in angle brackets."""
        return f"<{self.key}>"


def integer_axes(shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return axes ``a0``, ``a1``, ... whose labels are the indices of an array.

    Example:
        >>> [axis.labels for axis in integer_axes((2, 3))]
        [(0, 1), (0, 1, 2)]
    """
    return tuple(
        Axis(f"a{i}", labels=tuple(range(size))) for i, size in enumerate(shape)
    )
