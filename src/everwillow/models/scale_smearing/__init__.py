"""Energy scale and smearing: responses and resolutions from masses of Z bosons."""

from everwillow._lazy_names import listed_names
from everwillow.models.scale_smearing.application import (
    ScaledData,
    SmearedSimulation,
    scale_data,
    smear_simulation,
)
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.correction_sources import (
    FileCorrections,
    ParameterCorrections,
)
from everwillow.models.scale_smearing.corrections import (
    write_compound,
    write_corrections,
)
from everwillow.models.scale_smearing.event_input import (
    SelectedEvents,
    read_events,
    read_sample,
)
from everwillow.models.scale_smearing.generation import generate_events
from everwillow.models.scale_smearing.model import SasModel
from everwillow.models.scale_smearing.parameters import SasParameters
from everwillow.models.scale_smearing.parameters_file import (
    parameters_from_json,
    parameters_to_json,
)
from everwillow.models.scale_smearing.random_numbers import (
    standard_normals,
    uniform_numbers,
)
from everwillow.models.scale_smearing.regions import (
    RegionOptions,
    RegionTable,
    make_regions,
)
from everwillow.models.scale_smearing.spec import Region, SasSpec


__dir__ = listed_names(globals())

__all__ = [
    "Categories",
    "FileCorrections",
    "ParameterCorrections",
    "Region",
    "RegionOptions",
    "RegionTable",
    "SasModel",
    "SasParameters",
    "SasSpec",
    "ScaledData",
    "SelectedEvents",
    "SmearedSimulation",
    "generate_events",
    "make_regions",
    "parameters_from_json",
    "parameters_to_json",
    "read_configuration",
    "read_events",
    "read_sample",
    "scale_data",
    "smear_simulation",
    "standard_normals",
    "uniform_numbers",
    "write_compound",
    "write_corrections",
]
