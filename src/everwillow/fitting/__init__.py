"""Fits: `fit` in one call, `ifit` step by step, and the `FitResult` of both."""

from everwillow.fitting.freezing import frozen
from everwillow.fitting.result import FitResult
from everwillow.fitting.run import fit
from everwillow.fitting.stepwise import ifit


__all__ = ["FitResult", "fit", "frozen", "ifit"]
