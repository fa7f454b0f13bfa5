"""Energy scale and smearing: from files of events to corrections."""

from everwillow.workflows.scale_smearing.chains import write_chain
from everwillow.workflows.scale_smearing.corrected_files import (
    CorrectedFile,
    correct_files,
)
from everwillow.workflows.scale_smearing.smoothed_corrections import write_smoothed
from everwillow.workflows.scale_smearing.smoothing import (
    Curves,
    SmoothedParameters,
    smooth,
)


__all__ = [
    "CorrectedFile",
    "Curves",
    "SmoothedParameters",
    "correct_files",
    "smooth",
    "write_chain",
    "write_smoothed",
]
