"""Joint likelihoods: of bare functions with `prepare`, of Models with `combine`."""

from everwillow._lazy_names import listed_names
from everwillow.combination.combined import CombinedModel, combine
from everwillow.combination.description import (
    Description,
    ParameterDescription,
    describe,
)
from everwillow.combination.prepared import Prepared, prepare


__dir__ = listed_names(globals())

__all__ = [
    "CombinedModel",
    "Description",
    "ParameterDescription",
    "Prepared",
    "combine",
    "describe",
    "prepare",
]
