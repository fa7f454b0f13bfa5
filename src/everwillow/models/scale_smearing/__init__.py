"""Energy scale and smearing: responses and resolutions from masses of Z bosons."""

from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.corrections import (
    write_compound,
    write_corrections,
)
from everwillow.models.scale_smearing.event_input import (
    SelectedEvents,
    read_events,
    read_sample,
)
from everwillow.models.scale_smearing.parameters_file import (
    parameters_from_json,
    parameters_to_json,
)


__all__ = [
    "SelectedEvents",
    "parameters_from_json",
    "parameters_to_json",
    "read_configuration",
    "read_events",
    "read_sample",
    "write_compound",
    "write_corrections",
]
