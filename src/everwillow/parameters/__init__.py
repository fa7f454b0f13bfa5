"""Transforms, bounds and constraints of parameters."""

from everwillow._lazy_names import listed_names
from everwillow.parameters.bounds import Interval, unwrap, wrap
from everwillow.parameters.constraints import (
    AbstractConstraint,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    same_constraint,
)
from everwillow.parameters.transforms import (
    MinuitTransform,
    OneSidedLogTransform,
    SigmoidTransform,
    SoftPlusTransform,
    TransformBase,
)


__dir__ = listed_names(globals())

__all__ = [
    "AbstractConstraint",
    "Interval",
    "LogNormal",
    "MinuitTransform",
    "MultivariateNormal",
    "Normal",
    "OneSidedLogTransform",
    "Poisson",
    "SigmoidTransform",
    "SoftPlusTransform",
    "TransformBase",
    "same_constraint",
    "unwrap",
    "wrap",
]
