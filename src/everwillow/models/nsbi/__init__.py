"""Unbinned likelihoods of density ratios, together with binned channels."""

from everwillow.models.nsbi.building.builder import WorkspaceBuilder as WorkspaceBuilder
from everwillow.models.nsbi.diagnostics import (
    CalibrationResult as CalibrationResult,
    ClosureResult as ClosureResult,
    calibration as calibration,
    closure_test as closure_test,
)
from everwillow.models.nsbi.workspace import load_workspace as load_workspace
from everwillow.models.nsbi.writing import dump_workspace as dump_workspace
