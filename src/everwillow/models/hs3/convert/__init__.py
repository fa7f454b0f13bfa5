"""Conversion of pyhf workspaces to HS3 documents and back."""

from everwillow.models.hs3.convert.from_pyhf import pyhf_to_hs3
from everwillow.models.hs3.convert.to_pyhf import hs3_to_pyhf


__all__ = ["hs3_to_pyhf", "pyhf_to_hs3"]
