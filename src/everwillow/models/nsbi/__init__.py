"""Unbinned likelihoods of density ratios, together with binned channels."""

from everwillow.models.nsbi.building.builder import WorkspaceBuilder as WorkspaceBuilder
