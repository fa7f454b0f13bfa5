"""Where the histograms of a mapping are in its values, and what they are called."""

from collections.abc import Mapping
from typing import Any

import jax.tree_util as jtu
import numpy as np

from everwillow.mappings import AbstractHistogramMapping, Composite


SINGLE = "values"


def named_leaves(tree: Any) -> list[tuple[str, np.ndarray]]:
    """Return the arrays of a tree with the names of their histograms."""
    return [
        (name_of(path), np.asarray(leaf))
        for path, leaf in jtu.tree_leaves_with_path(tree)
    ]


def name_of(path: Any) -> str:
    """Return the name of a histogram: its keys in the values of the mapping."""
    return "/".join(str(key_of(part)) for part in path) or SINGLE


def key_of(part: Any) -> Any:
    """Return a step of a path as a plain key."""
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return getattr(part, attribute)
    return part


def found_at(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return what is at a path; None where a tree does not go so far."""
    for part in path:
        key = key_of(part)
        if tree is None or (isinstance(tree, Mapping) and key not in tree):
            return None
        tree = getattr(tree, key) if hasattr(part, "name") else tree[key]
    return tree


def quantity_at(mapping: AbstractHistogramMapping, path: tuple[Any, ...]) -> str:
    """Return what the values of a mapping are, those of a part of a composite."""
    if isinstance(mapping, Composite):
        parts = {part.key: part for part in mapping.mappings}
        return parts[key_of(path[0])].quantity
    return mapping.quantity


__all__ = ["found_at", "key_of", "name_of", "named_leaves", "quantity_at"]
