"""Patches, HS3 models and simplified likelihoods for workspaces from files."""

from everwillow._lazy_names import lazy_names


__getattr__, __dir__ = lazy_names(__name__, {}, ("hs3", "patches", "simplify"))
