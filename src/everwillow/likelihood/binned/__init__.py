"""Kernels of binned likelihoods: their description, packing, counts and derivatives."""
