"""Asimov data, pseudo-experiments, and fits of many of them."""

from everwillow._lazy_names import listed_names
from everwillow.toys.asimov import asimov_data
from everwillow.toys.fits import ToyFits, fit_toys
from everwillow.toys.sampling import (
    DrawnParameters,
    Fluctuated,
    PoissonToys,
    sample_toys,
    toy_keys,
)


__dir__ = listed_names(globals())

__all__ = [
    "DrawnParameters",
    "Fluctuated",
    "PoissonToys",
    "ToyFits",
    "asimov_data",
    "fit_toys",
    "sample_toys",
    "toy_keys",
]
