"""Kernels of likelihoods: arrays in and out, without names and States."""
