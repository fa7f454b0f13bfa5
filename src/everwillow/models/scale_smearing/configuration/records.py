"""A configuration of scale and smearing as frozen records."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, TypeAlias

from everwillow.models.event_filter import EventFilter
from everwillow.models.scale_smearing.binning import Binning
from everwillow.models.scale_smearing.categories import Categories


Window: TypeAlias = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """All that one fit needs.

    Attributes:
        data: Files of data.
        simulation: Files of simulated events.
        tree: The name of the tree in ROOT files, empty if they have one only.
        branches: The columns of files by the names used here; others have the same.
        categories: The categories of a lepton.
        cut: The selection of events, or None.
        relative_pt: Whether bins in pt are fitted in two passes, first in pt / mass.
        pt: The name of the transverse momentum, without the suffix of a lepton.
        suffixes: The suffixes of the leptons with a response: two, or one for events
            in which only one of the objects has a response.
        mass_exponent: The power of the response of one lepton in that of the mass.
        mass: The column of the mass.
        weight: The column of weights of simulated events, or None.
        data_window: The range of masses in data.
        simulation_window: The range of simulated masses, which contains it.
        min_data: A region is fitted if it has more events in data.
        min_simulation: A region is fitted if it has more simulated events.
        data_bins: How data are binned.
        template_width: The width of the bins of simulated masses, in GeV.
        double_gaussian: Whether the response is a sum of two Gaussians.
        shared: The parameters of the second Gaussian that all categories share.
        errors: Whether statistical errors are computed.
        simulation_errors: Whether errors from limited simulation are computed.
        start_resp: Start values of the responses, or None.
        start_reso: Start values of the resolutions, or None.
        random_start: Whether the fit starts from random values.
        seed: Seed of all random numbers: start values and the smearing of simulation.
    """

    data: tuple[pathlib.Path, ...]
    simulation: tuple[pathlib.Path, ...]
    categories: Categories
    tree: str = ""
    branches: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cut: EventFilter | None = None
    relative_pt: bool = True
    pt: str = "pt"
    suffixes: tuple[str, ...] = ("1", "2")
    mass_exponent: float = 0.5
    mass: str = "mass"
    weight: str | None = None
    data_window: Window = (70.0, 110.0)
    simulation_window: Window = (50.0, 130.0)
    min_data: int = 10
    min_simulation: int = 100
    data_bins: Binning = "Q"
    template_width: float = 0.1
    double_gaussian: bool = False
    shared: tuple[str, ...] = ()
    errors: bool = True
    simulation_errors: bool = True
    start_resp: tuple[float, ...] | None = None
    start_reso: tuple[float, ...] | None = None
    random_start: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectionSettings:
    """What is written besides the results.

    Attributes:
        description: The description in the file for correctionlib.
        version: The version in its name.
        smoothing: Whether functions of pt are fitted to the results.
        write: Whether a file for correctionlib is written.
        correct_data: Whether corrected data are written.
        correct_simulation: Whether smeared simulation is written.
    """

    description: str | None = None
    version: int = 1
    smoothing: bool = False
    write: bool = False
    correct_data: bool = False
    correct_simulation: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SasConfiguration:
    """A configuration, checked as a whole.

    Attributes:
        path: The file, or None.
        results: The folder of all outputs.
        dataset: ``dset_name``: it is in the names of files and corrections.
        correction_set: ``cset_name``: it is in the names of corrections and of
            corrected files.
        labels: LaTeX labels of variables.
        scale_flat: A constant error of the responses.
        smear_flat: A constant error of the resolutions.
        nominal: The nominal fit.
        systematics: The settings of each other fit, complete.
        corrections: What is written besides the results.
        source: The content of the file, plain lists and dictionaries.
        report: Sentences on what was assumed, or accepted without effect.
    """

    path: pathlib.Path | None
    results: pathlib.Path
    dataset: str
    correction_set: str
    labels: Mapping[str, str]
    scale_flat: float
    smear_flat: float
    nominal: FitSettings
    systematics: Mapping[str, FitSettings]
    corrections: CorrectionSettings
    source: Mapping[str, Any]
    report: tuple[str, ...] = ()
