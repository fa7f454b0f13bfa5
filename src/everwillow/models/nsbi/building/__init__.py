"""Workspaces of unbinned likelihoods from their configurations."""
