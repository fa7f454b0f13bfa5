"""Energy scale and smearing: from files of events to corrections."""

from everwillow.workflows.scale_smearing.chains import write_chain
from everwillow.workflows.scale_smearing.corrected_files import (
    CorrectedFile,
    correct_files,
)


__all__ = [
    "CorrectedFile",
    "correct_files",
    "write_chain",
]
