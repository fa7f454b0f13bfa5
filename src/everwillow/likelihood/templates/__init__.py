"""Kernels of template fits: templates, responses and their derivatives."""
