"""Angular coefficients of a decay, from cross sections by harmonic."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import SINGLE, Term, quotient
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.mappings.selection import Selection
from everwillow.mappings.tokens import quoted


AXES = ("helicitySig", "helicity")
"""Names of the axis of harmonics, unless another is given."""


class AbstractAngular(AbstractHistogramMapping):
    """Cross sections along an axis of harmonics: unpolarised, then those of A0, A1, ...

    Spelled ``NAME CHANNEL [PROCESS,...] [SELECTION] [axis=NAME]``.

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
        """Take cross sections from a channel.

        Args:
            channel: The channel.
            processes: The processes to add; None for all.
            selection: Of bins of the other axes, as
                `everwillow.mappings.parse_selection` reads it.
            axis: The name of the axis of harmonics.
        """
        self.term = Term.of(channel, processes, selection)
        if axis is not None and not isinstance(axis, str):
            raise ArgumentTypeError(f"axis: expected a name, got {axis!r}.")
        self.axis = axis

    @property
    def key(self) -> str:
        """How it is written."""
        words = f"{type(self).__name__} {self.term.spelling()}"
        return words if self.axis is None else f"{words} axis={quoted(self.axis)}"

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted and no processes are selected."""
        return self.term.has_data(layout)

    def _place(self, layout: Layout, least: int) -> tuple[int, tuple[Axis, ...]]:
        """Return where the axis of harmonics is, and all axes that are left."""
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
        place, _ = self._place(yields.layout, least)
        return jnp.moveaxis(self.term.values(yields), place, 0)


@final
class AngularCoefficients(AbstractAngular):
    r"""Angular coefficients: cross sections over the unpolarised one.

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
        place, _ = self._place(yields.layout, 2)
        parts = self._harmonics(yields, 2)
        return jnp.moveaxis(quotient(parts[1:], parts[:1]), 0, place)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes, that of harmonics without its first bin."""
        place, axes = self._place(layout, 2)
        own = axes[place]
        if own.edges is None:
            own = dataclasses.replace(own, labels=(own.labels or ())[1:])
        else:
            own = dataclasses.replace(own, edges=own.edges[1:])
        return (*axes[:place], own, *axes[place + 1 :])


@final
class LamTung(AbstractAngular):
    """The difference of the angular coefficients A0 and A2.

    It is zero at lowest orders of perturbation theory, by the relation of Lam and Tung.

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
        parts = self._harmonics(yields, 4)
        values = quotient(parts[1] - parts[3], parts[0])
        return values if values.ndim else values[None]

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes without that of harmonics."""
        place, axes = self._place(layout, 4)
        return (*axes[:place], *axes[place + 1 :]) or (SINGLE,)
