"""Results, States and pytrees of arrays to and from files, never by pickle."""

from everwillow._lazy_names import listed_names
from everwillow.io.files import load as load, save as save
from everwillow.io.records import (
    ConstraintSummary as ConstraintSummary,
    NotStored as NotStored,
)


__dir__ = listed_names(globals())
