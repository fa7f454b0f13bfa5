"""Kernels of likelihoods: arrays in and out, without names and States."""

from everwillow._lazy_names import lazy_names


__getattr__, __dir__ = lazy_names(
    __name__,
    {},
    (
        "barlow_beeston",
        "binned",
        "data_terms",
        "histograms",
        "interpolation",
        "poisson",
        "quadrature",
        "templates",
        "unbinned",
    ),
)
