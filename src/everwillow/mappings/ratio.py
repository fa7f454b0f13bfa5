"""Mappings that compare two histograms bin by bin: ratios, asymmetry, difference."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, ShapeMismatchError
from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import Term, processes_text, quotient
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping, integer_axes
from everwillow.mappings.selection import Selection
from everwillow.mappings.tokens import quoted


Processes: TypeAlias = str | Sequence[str] | None
"""The name of a process, several names, or None for all processes."""

Counts: TypeAlias = Float[Array, "..."]


class AbstractTwoTerms(AbstractHistogramMapping):
    """A comparison of two histograms of the same shape, bin by bin.

    They may be in different channels. The text is ``NAME CHANNEL CHANNEL [PROCESSES
    PROCESSES] [SELECTION SELECTION]``, where ``None`` stands for all processes or bins,
    for example ``Ratio ch0 ch0 signal None cat:sum cat:sum``.

    Attributes:
        first: The first histogram, the numerator.
        second: The second histogram, the denominator.
    """

    first: Term = eqx.field(static=True)
    second: Term = eqx.field(static=True)

    def __init__(
        self,
        first: str,
        second: str,
        *,
        processes: tuple[Processes, Processes] | None = None,
        selection: Any = None,
    ) -> None:
        """Compare two histograms.

        Args:
            first: The channel of the first histogram.
            second: The channel of the second histogram.
            processes: The processes of the first and of the second histogram, each None
                for all processes.
            selection: The bins of the first and of the second histogram, each in a form
                that `everwillow.mappings.parse_selection` reads, or None for all bins.
        """
        names = _pair(processes, "processes")
        bins = _pair(selection, "selection")
        self.first, self.second = (
            Term.of(*parts) for parts in zip((first, second), names, bins, strict=True)
        )

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        both = self.first, self.second
        words = [type(self).__name__, *(quoted(term.channel) for term in both)]
        if any(term.processes is not None for term in both):
            words += [processes_text(term.processes) for term in both]
        if any(term.selection for term in both):
            words += [str(term.selection) for term in both]
        return " ".join(words)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes; axes that differ are replaced by ``a0``, ``a1``, ..."""
        first, second = self.first.axes(layout), self.second.axes(layout)
        shapes = [tuple(axis.size for axis in axes) for axes in (first, second)]
        if shapes[0] != shapes[1]:
            names = [[axis.name for axis in axes] for axes in (first, second)]
            raise ShapeMismatchError(
                f"{self.key}: the shapes {shapes[0]} and {shapes[1]} differ, with the "
                f"axes {names[0]} and {names[1]}. Select bins that match."
            )
        axes = zip(first, second, integer_axes(shapes[0]), strict=True)
        return tuple(a if a == b else numbered for a, b, numbered in axes)

    def has_data(self, layout: Layout) -> bool:
        """Return whether both channels are fitted and no processes are selected."""
        return self.first.has_data(layout) and self.second.has_data(layout)

    def __call__(self, params: Any, yields: Yields) -> Counts:
        """Return the comparison, bin by bin."""
        del params
        self.axes(yields.layout)
        return self._compared(self.first.values(yields), self.second.values(yields))

    @abc.abstractmethod
    def _compared(self, first: Counts, second: Counts) -> Counts:
        """Compare the counts of both histograms."""


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    if value is None:
        return None, None
    is_one = isinstance(value, (str, Mapping, Selection))
    if is_one or not isinstance(value, Sequence) or len(value) != 2:
        raise ArgumentTypeError(
            f"{name}: expected a pair, for both histograms, got {value!r}."
        )
    return value[0], value[1]


@final
class Ratio(AbstractTwoTerms):
    """The first histogram divided by the second; NaN where the second is zero.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 2.0], [3.0, 2.0]]), layout)
        >>> print(Ratio("ch0", "ch0", processes=("signal", None))(None, yields))
        [0.25 0.5 ]
    """

    quantity: ClassVar[str] = "Ratio"

    def _compared(self, first: Counts, second: Counts) -> Counts:
        return quotient(first, second)


@final
class Normratio(AbstractTwoTerms):
    """The ratio of two shapes: each histogram is divided by its total first.

    The totals are sums over the selected bins and processes. To first order around
    equal shapes, one of the values follows from the others.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 3.0], [4.0, 4.0]]), layout)
        >>> mapping = Normratio("ch0", "ch0", processes=("signal", "background"))
        >>> print(mapping(None, yields))
        [0.5 1.5]
    """

    quantity: ClassVar[str] = "Ratio of shapes"
    # The average of the ratios, weighted with the second shape, is 1.
    ndof_reduction: ClassVar[int] = 1

    def _compared(self, first: Counts, second: Counts) -> Counts:
        # A single division: the product of a NaN and a factor has a gradient of NaN.
        return quotient(
            first * jnp.sum(second, keepdims=True),
            second * jnp.sum(first, keepdims=True),
        )


@final
class Asymmetry(AbstractTwoTerms):
    """The difference of two histograms divided by their sum; NaN where that is zero.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> axes = Axis("x", edges=(0.0, 1.0, 2.0)), Axis("sign", labels=("-", "+"))
        >>> layout = Layout((Channel("ch0", axes),), ("signal",))
        >>> yields = Yields(np.array([[1.0, 3.0, 1.0, 1.0]]), layout)
        >>> print(Asymmetry("ch0", "ch0", selection=("sign:1", "sign:0"))(None, yields))
        [0.5 0. ]
    """

    quantity: ClassVar[str] = "Asymmetry"

    def _compared(self, first: Counts, second: Counts) -> Counts:
        return quotient(first - second, first + second)


@final
class Difference(AbstractTwoTerms):
    """The first histogram minus the second, in events.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 3.0], [4.0, 4.0]]), layout)
        >>> print(Difference("ch0", "ch0", processes=(None, "signal"))(None, yields))
        [4. 4.]
    """

    quantity: ClassVar[str] = "Difference of events"

    def _compared(self, first: Counts, second: Counts) -> Counts:
        return first - second
