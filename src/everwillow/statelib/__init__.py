"""States: immutable mappings of named parameters, and the algebra of their keys."""

from everwillow._lazy_names import listed_names
from everwillow.statelib.state import State, canonicalize_key
from everwillow.statelib.transform import (
    Transform,
    apply_transformations,
    combine_partitions,
    merge,
    partition,
    prefix,
    rename,
    split,
    update,
)


__dir__ = listed_names(globals())

__all__ = [
    "State",
    "Transform",
    "apply_transformations",
    "canonicalize_key",
    "combine_partitions",
    "merge",
    "partition",
    "prefix",
    "rename",
    "split",
    "update",
]
