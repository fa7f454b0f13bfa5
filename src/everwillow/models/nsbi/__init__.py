"""Unbinned likelihoods of density ratios, together with binned channels."""

from everwillow._lazy_names import listed_names
from everwillow.models.nsbi.building.builder import WorkspaceBuilder
from everwillow.models.nsbi.building.evaluation import events_at
from everwillow.models.nsbi.density import density_ratio
from everwillow.models.nsbi.diagnostics import (
    CalibrationResult,
    ClosureResult,
    calibration,
    closure_test,
)
from everwillow.models.nsbi.model import NsbiModel
from everwillow.models.nsbi.reading import load, workspace_spec
from everwillow.models.nsbi.spec import Events, Variation
from everwillow.models.nsbi.vectors import VectorLikelihood
from everwillow.models.nsbi.workspace import load_workspace
from everwillow.models.nsbi.writing import dump_workspace


__dir__ = listed_names(globals())

__all__ = [
    "CalibrationResult",
    "ClosureResult",
    "Events",
    "NsbiModel",
    "Variation",
    "VectorLikelihood",
    "WorkspaceBuilder",
    "calibration",
    "closure_test",
    "density_ratio",
    "dump_workspace",
    "events_at",
    "load",
    "load_workspace",
    "workspace_spec",
]
