"""Fits, scans and comparisons of models of density ratios."""

from everwillow._lazy_names import lazy_names


__getattr__, __dir__ = lazy_names(
    __name__, {}, ("fits", "models", "ratio_statistics", "scans")
)
