"""Functional, JAX-native fitting and combination of statistical models."""

import importlib.metadata as _metadata


__version__ = _metadata.version("everwillow")
