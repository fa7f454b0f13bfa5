"""What scales the processes of a template fit: parameters and the rates they make."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.histograms import Layout


@dataclass(frozen=True, slots=True)
class RateParameter:
    """A parameter of a rate, on its physical scale.

    Attributes:
        start: Where a fit starts, and the nominal value.
        lower: Its lower end; a strength that cannot be negative has 0 here.
        upper: Its upper end.
        width: The width of a Gaussian constraint around `start`; None without one.
        interest: Whether it is a parameter of interest.
    """

    start: float
    lower: float = -np.inf
    upper: float = np.inf
    width: float | None = None
    interest: bool = True


class AbstractParameterModel(eqx.Module):
    """Rates that multiply the nominal yields, as functions of a few parameters.

    To write one, provide `layout` as a field and implement two methods.
    """

    layout: eqx.AbstractVar[Layout]

    @abc.abstractmethod
    def parameters(self) -> Mapping[str, RateParameter]:
        """Return the parameters by name; each is a scalar."""

    @abc.abstractmethod
    def rates(self, params: Mapping[str, Array]) -> Float[Array, "processes bins"]:
        """Return what multiplies each process in each bin of all channels.

        Args:
            params: The values of `parameters`, by name; there may be others.
        """


__all__ = ["AbstractParameterModel", "RateParameter"]
