"""Terms of a likelihood besides histfactory ones: events, bins and points."""

from everwillow.models.hs3.terms.base import (
    AbstractTerm,
    BinnedTerm,
    PointTerm,
    UnbinnedTerm,
)
from everwillow.models.hs3.terms.pairing import build_terms


__all__ = ["AbstractTerm", "BinnedTerm", "PointTerm", "UnbinnedTerm", "build_terms"]
