"""Patches, HS3 models and simplified likelihoods for workspaces from files."""
