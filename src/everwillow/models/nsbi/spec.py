"""The specification of a density-ratio model, in NumPy, which the reader makes.

An `NsbiSpec` has the content of a workspace: names are resolved, and every array of an
unbinned region has an entry for each of its events.
`everwillow.models.nsbi.model.NsbiModel` compiles it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from everwillow.likelihood.binned.spec import BinnedSpec, NormVariation, Scale


RatioInterpolation: TypeAlias = Literal["polynomial", "linear"]
r"""The factor :math:`g(\alpha)` between the ratios at :math:`\alpha = -1, 0, 1`.

``"polynomial"`` is code 4 of HistFactory, a polynomial of sixth order with exponentials
beyond ±1. ``"linear"`` is a straight line on either side of 0.
"""

ReferenceDensity: TypeAlias = Literal["reference", "nominal"]
"""The density of simulated events: the reference one, or that of all samples."""

NetworkOutput: TypeAlias = Literal["score", "logit", "ratio", "log_ratio"]
"""The meaning of the number that a network returns for an event."""


class Variation(NamedTuple):
    r"""The change of a density by a nuisance parameter.

    Attributes:
        down: :math:`p(x_i|\alpha = -1) / p(x_i|\alpha = 0)` of each event.
        up: The same at +1.
    """

    down: np.ndarray
    up: np.ndarray


@dataclass(frozen=True, slots=True)
class Events:
    r"""A set of events with the densities of all samples at each.

    Attributes:
        weights: The weights of the events, shape ``(n,)``.
        ratios: By sample :math:`p(x_i) / p_\mathrm{ref}(x_i)`, shape ``(n,)``.
        variations: By sample and parameter the changes of this density.
        members: Of densities that are averages over an ensemble of networks those of
            each network, by ``(sample, parameter, "up" or "down")``, with an empty
            parameter and direction for the nominal density.
    """

    weights: np.ndarray
    ratios: Mapping[str, np.ndarray]
    variations: Mapping[tuple[str, str], Variation] = field(default_factory=dict)
    members: Mapping[tuple[str, str, str], tuple[np.ndarray, ...]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class UnbinnedSample:
    """A process in an unbinned region.

    Attributes:
        name: Its name.
        expected: The expected number of its events at the nominal values.
        effects: The effects of parameters on this number.
    """

    name: str
    expected: float
    effects: tuple[Scale | NormVariation, ...] = ()


@dataclass(frozen=True, slots=True)
class UnbinnedRegion:
    """A region whose events enter the likelihood one by one.

    Attributes:
        name: Its name.
        samples: The processes.
        events: The observed events; weighted ones where they are an Asimov data set.
        reference: Simulated events, by which densities are normalised and of which
            Asimov data and toys consist; None to take the observed ones.
        reference_density: The density from which the reference events are simulated:
            the reference density, or the nominal mixture of the samples, as Asimov data
            are.
        reference_weights: Weights of the reference events with sum 1, for integrals
            over the reference density; None to compute them
            (`everwillow.models.nsbi.likelihood.reference`).
    """

    name: str
    samples: tuple[UnbinnedSample, ...]
    events: Events
    reference: Events | None = None
    reference_density: ReferenceDensity = "nominal"
    reference_weights: np.ndarray | None = None

    @property
    def simulated(self) -> Events:
        """The reference events."""
        return self.events if self.reference is None else self.reference

    @property
    def from_reference_density(self) -> bool:
        """Whether the reference events are simulated from the reference density."""
        return self.reference is not None and self.reference_density == "reference"


@dataclass(frozen=True, slots=True)
class NsbiSpec:
    """A whole likelihood of binned and unbinned regions.

    Attributes:
        binned: The binned channels, and all parameters.
        unbinned: The unbinned regions, in the order of the data.
        order: The names of the parameters, the parameter of interest first, in the
            order for users who bring their own minimiser.
        interpolation: The interpolation of the changes of densities.
    """

    binned: BinnedSpec
    unbinned: tuple[UnbinnedRegion, ...]
    order: tuple[str, ...] = ()
    interpolation: RatioInterpolation = "polynomial"
