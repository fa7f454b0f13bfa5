"""From pyhf workspaces to HS3 documents and back."""

from everwillow.models.hs3.convert.conversion import hs3_to_pyhf, pyhf_to_hs3


__all__ = ["hs3_to_pyhf", "pyhf_to_hs3"]
