"""Fits: `fit` in one call, `ifit` step by step, and the `FitResult` of both."""

from everwillow._lazy_names import listed_names
from everwillow.fitting.freezing import frozen
from everwillow.fitting.result import FitResult
from everwillow.fitting.run import fit
from everwillow.fitting.stepwise import ifit


__dir__ = listed_names(globals())

__all__ = ["FitResult", "fit", "frozen", "ifit"]
