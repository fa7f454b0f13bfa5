"""The specification of a fit of responses and resolutions: NumPy arrays."""

import dataclasses
from typing import final

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError
from everwillow.models.scale_smearing.categories import Categories


SECOND_GAUSSIAN = ("reso2", "mu", "frac")
"""The parameters of the second Gaussian, by the names in results."""

KIND_OF = {"resp": "resp", "reso": "var", "reso2": "var2", "mu": "mu", "frac": "frac"}
"""The kind of parameter of the model for each parameter of results."""

START_RESP, START_RESO = 1.0, 0.02
START_SECOND = {"reso2": 0.04, "mu": 0.95, "frac": 0.95}
"""Start values."""

BOUNDS_SECOND = {"reso2": (0.0, 0.08), "mu": (0.8, 1.0), "frac": (0.8, 1.0)}
"""Bounds of the parameters of the second Gaussian."""


@final
@dataclasses.dataclass(frozen=True)
class Region:
    """The masses of one combination of categories.

    Attributes:
        categories: The categories of the leptons in increasing order; one number if
            only one object has a response.
        edges: The edges of the bins of data, shape ``(bins + 1,)``.
        counts: The observed events in these bins.
        template: The weights of simulated events in the bins of the template.
        variances: The sums of their squares.
        data: The number of observed events in the window.
        simulation: The number of simulated events in theirs.
        clipped: The sum of the negative bins of the template, which were set to 0.
    """

    categories: tuple[int, ...]
    edges: Float[np.ndarray, " edges"]
    counts: Float[np.ndarray, " bins"]
    template: Float[np.ndarray, " masses"]
    variances: Float[np.ndarray, " masses"]
    data: int = 0
    simulation: int = 0
    clipped: float = 0.0


@final
@dataclasses.dataclass(frozen=True)
class SasSpec:
    """A likelihood of masses in regions.

    Attributes:
        categories: The categories of a lepton.
        masses: The centres of the bins of all templates, in GeV.
        regions: The regions.
        mass_exponent: The power of the response of one lepton in that of the mass.
        double_gaussian: Whether the response is a sum of two Gaussians.
        shared: The parameters of the second Gaussian that all categories share.
        smearing_floor: The smallest relative width of the response of a mass.
    """

    categories: Categories
    masses: Float[np.ndarray, " masses"]
    regions: tuple[Region, ...]
    mass_exponent: float = 0.5
    double_gaussian: bool = False
    shared: tuple[str, ...] = ()
    smearing_floor: float = 1e-3

    def __post_init__(self) -> None:
        for name in self.shared:
            if name not in SECOND_GAUSSIAN:
                raise ArgumentValueError(
                    f"shared: {name!r} is none of {', '.join(SECOND_GAUSSIAN)}, the "
                    "parameters of the second Gaussian."
                )
        if not self.mass_exponent > 0:
            raise ArgumentValueError(
                f"mass_exponent must be positive, not {self.mass_exponent}. It is 1/2 "
                "for the mass of two leptons."
            )

    @property
    def fitted(self) -> tuple[int, ...]:
        """The categories that are in a region, in increasing order."""
        return tuple(sorted({i for one in self.regions for i in one.categories}))
