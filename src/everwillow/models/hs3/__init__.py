"""HS3, the serialisation standard of high energy physics."""

from everwillow._lazy_names import listed_names
from everwillow.models.hs3.convert import hs3_to_pyhf, pyhf_to_hs3
from everwillow.models.hs3.document import Document, read_document
from everwillow.models.hs3.interpreter import WorkspaceInterpreter
from everwillow.models.hs3.model import Hs3Model
from everwillow.models.hs3.reading import load, read_spec
from everwillow.models.hs3.writing import dump


__dir__ = listed_names(globals())

__all__ = [
    "Document",
    "Hs3Model",
    "WorkspaceInterpreter",
    "dump",
    "hs3_to_pyhf",
    "load",
    "pyhf_to_hs3",
    "read_document",
    "read_spec",
]
