"""Angular coefficients of a decay, from the cross sections of harmonics."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import SINGLE_VALUE_AXIS, Term, quotient
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.mappings.selection import Selection
from everwillow.mappings.tokens import quoted


AXES = ("helicitySig", "helicity")
"""Names that the axis of harmonics may have by default."""


class AbstractAngular(AbstractHistogramMapping):
    """Cross sections along an axis of harmonics: unpolarised, then those of A0, A1, ...

    The text is ``NAME CHANNEL [PROCESS,...] [SELECTION] [axis=NAME]``.

    Attributes:
        term: The channel, its processes and bins.
        axis: The name of the axis of harmonics; None for the first of `AXES` that the
            channel has.
    """

    term: Term = eqx.field(static=True)
    axis: str | None = eqx.field(static=True)

    def __init__(
        self,
        channel: str,
        *,
        processes: str | Sequence[str] | None = None,
        selection: str | Selection | Mapping[str, Any] | None = None,
        axis: str | None = None,
    ) -> None:
        """Define the cross sections.

        Args:
            channel: The channel.
            processes: The processes to add; None for all.
            selection: The bins of the other axes, in a form that
                `everwillow.mappings.parse_selection` reads.
            axis: The name of the axis of harmonics.
        """
        self.term = Term.of(channel, processes, selection)
        if axis is not None and not isinstance(axis, str):
            raise ArgumentTypeError(f"axis: expected a name, got {axis!r}.")
        self.axis = axis

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        words = f"{type(self).__name__} {self.term.arguments_text()}"
        return words if self.axis is None else f"{words} axis={quoted(self.axis)}"

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted and no processes are selected."""
        return self.term.has_data(layout)

    def _harmonic_axis(
        self, layout: Layout, least: int
    ) -> tuple[int, tuple[Axis, ...]]:
        """Return the position of the axis of harmonics among the axes, and these.

        Args:
            layout: The channels and processes.
            least: The least number of harmonics.
        """
        channel = layout.channel(self.term.channel)
        name = self.axis
        if name is None:
            name = next((a.name for a in channel.axes if a.name in AXES), AXES[0])
        size = channel.axes[channel.axis(name)].size
        if any(axis == name for axis, _ in self.term.selection.items):
            raise ArgumentValueError(
                f"{self.key}: the axis {name!r} of harmonics cannot be selected in."
            )
        if size < least:
            raise ArgumentValueError(
                f"{self.key}: the axis {name!r} has {size} bins, and {least} are "
                "needed: unpolarised, A0, A1 and so on."
            )
        axes = self.term.axes(layout)
        return [axis.name for axis in axes].index(name), axes

    def _harmonics(self, yields: Yields, least: int) -> Float[Array, "harmonics ..."]:
        position, _ = self._harmonic_axis(yields.layout, least)
        return jnp.moveaxis(self.term.values(yields), position, 0)


@final
class AngularCoefficients(AbstractAngular):
    r"""Angular coefficients: ratios of cross sections to the unpolarised one.

    :math:`A_i = \sigma_i / \sigma_{UL}`, with :math:`\sigma_{UL}` in the first bin of
    the axis of harmonics and :math:`\sigma_i` in bin i + 1. They are the conventional
    ones if the templates are the coefficients of the conventional polynomials.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> helicity = Axis("helicity", labels=(-1, 0, 1))
        >>> layout = Layout((Channel("ch0", (helicity,)),), ("signal",))
        >>> yields = Yields(np.array([[10.0, 4.0, 1.0]]), layout)
        >>> print(AngularCoefficients("ch0")(None, yields))
        [0.4 0.1]
    """

    quantity: ClassVar[str] = "Angular coefficient"

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the coefficients, along the axis of harmonics."""
        del params
        position, _ = self._harmonic_axis(yields.layout, 2)
        sigma = self._harmonics(yields, 2)
        return jnp.moveaxis(quotient(sigma[1:], sigma[:1]), 0, position)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes; the axis of harmonics loses its first bin."""
        position, axes = self._harmonic_axis(layout, 2)
        harmonics = axes[position]
        if harmonics.edges is None:
            labels = (harmonics.labels or ())[1:]
            harmonics = dataclasses.replace(harmonics, labels=labels)
        else:
            harmonics = dataclasses.replace(harmonics, edges=harmonics.edges[1:])
        return (*axes[:position], harmonics, *axes[position + 1 :])


@final
class LamTung(AbstractAngular):
    """The difference of the angular coefficients A0 and A2.

    It is zero at the lowest orders of perturbation theory (relation of Lam and Tung).

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> helicity = Axis("helicity", labels=(-1, 0, 1, 2))
        >>> layout = Layout((Channel("ch0", (helicity,)),), ("signal",))
        >>> yields = Yields(np.array([[10.0, 4.0, 1.0, 2.0]]), layout)
        >>> print(LamTung("ch0")(None, yields))
        [0.2]
    """

    quantity: ClassVar[str] = "$A_0 - A_2$"

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return A0 - A2."""
        del params
        sigma = self._harmonics(yields, 4)
        values = quotient(sigma[1] - sigma[3], sigma[0])
        return values if values.ndim else values[None]

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes without the axis of harmonics."""
        position, axes = self._harmonic_axis(layout, 4)
        return (*axes[:position], *axes[position + 1 :]) or (SINGLE_VALUE_AXIS,)
