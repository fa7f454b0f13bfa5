"""Unbinned likelihoods of density ratios, together with binned channels."""
