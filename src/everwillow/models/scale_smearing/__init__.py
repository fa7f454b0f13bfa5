"""Energy scale and smearing: responses and resolutions from masses of Z bosons."""

from everwillow.models.scale_smearing.corrections import (
    write_compound,
    write_corrections,
)
from everwillow.models.scale_smearing.parameters_file import (
    parameters_from_json,
    parameters_to_json,
)


__all__ = [
    "parameters_from_json",
    "parameters_to_json",
    "write_compound",
    "write_corrections",
]
