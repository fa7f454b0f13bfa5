"""Back-ends of spey: HS3 documents and pyhf workspaces; needs the extra `spey`.

They are registered as ``everwillow.hs3`` and ``everwillow.pyhf``, and available by
``spey.get_backend("everwillow.hs3")``.
"""

from everwillow._lazy_names import listed_names
from everwillow.interop.spey.backend import (
    AbstractBackend as AbstractBackend,
    JointBackend as JointBackend,
)
from everwillow.interop.spey.hs3 import Hs3Backend as Hs3Backend
from everwillow.interop.spey.pyhf import PyhfBackend as PyhfBackend


__dir__ = listed_names(globals())

__all__ = ["AbstractBackend", "Hs3Backend", "JointBackend", "PyhfBackend"]
