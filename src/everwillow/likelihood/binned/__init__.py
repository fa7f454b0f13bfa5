"""Kernels of binned likelihoods: their description, packing, counts and derivatives."""

from everwillow._lazy_names import lazy_names


__getattr__, __dir__ = lazy_names(
    __name__, {}, ("counts", "hessian", "packed", "packing", "spec")
)
