"""Transforms, bounds and constraints of parameters."""

from everwillow.parameters.bounds import Interval
from everwillow.parameters.transforms import (
    MinuitTransform,
    OneSidedLogTransform,
    SigmoidTransform,
    SoftPlusTransform,
    TransformBase,
    unwrap,
    wrap,
)


__all__ = [
    "Interval",
    "MinuitTransform",
    "OneSidedLogTransform",
    "SigmoidTransform",
    "SoftPlusTransform",
    "TransformBase",
    "unwrap",
    "wrap",
]
