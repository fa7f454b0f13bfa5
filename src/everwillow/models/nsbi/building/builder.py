"""Workspaces from configurations."""

import os
import pathlib
from typing import Any

from everwillow.models._document import Report
from everwillow.models.event_files import CHUNK, EventFiles
from everwillow.models.faults import Faults
from everwillow.models.nsbi.building._array_files import ArrayChecks
from everwillow.models.nsbi.building._channels import RegionPart
from everwillow.models.nsbi.building._parameters import measurements, multipliers
from everwillow.models.nsbi.building._reading import EventPlan
from everwillow.models.nsbi.building._stored_arrays import ArrayFolder
from everwillow.models.nsbi.configuration.document import read_configuration
from everwillow.models.nsbi.configuration.records import Configuration


VERSION = "1.0.0"


class WorkspaceBuilder:
    """Builds the workspace of a configuration.

    Args:
        config_path: The YAML file.
        ratios_folder: The folder for arrays that are made: the ratios that networks
            return, and weights of selected events. By default it is
            ``<name of the configuration>_ratios``, beside the configuration.
        chunk: The number of events that are read at once.

    Attributes:
        configuration: What the configuration says.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If the configuration is not valid, with all faults. No file
            that it names is read before.
    """

    configuration: Configuration

    def __init__(
        self,
        config_path: str | os.PathLike[str],
        *,
        ratios_folder: str | os.PathLike[str] | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.configuration = read_configuration(config_path)
        path = self.configuration.path
        default = path.with_name(f"{path.stem}_ratios")
        self._folder = pathlib.Path(ratios_folder or default).absolute()
        self._chunk = chunk

    def build(self, files: EventFiles | None = None) -> dict[str, Any]:
        """Read the events and return the workspace.

        Every column of every tree is read once, in chunks.

        Args:
            files: Opens the files of events; closed at the end.

        Returns:
            The workspace, which `json.dump` accepts. Arrays of events are named by
            absolute paths.

        Raises:
            SpecificationError: If trees or columns are missing, if arrays have
                different lengths, or values that are not valid; with all faults.
        """
        configuration = self.configuration
        faults = Faults(configuration.path.name)
        checks = ArrayChecks(faults)
        plan = EventPlan()
        factors = multipliers(configuration)
        parts = [
            RegionPart(configuration, region, plan, factors)
            for region in configuration.regions
        ]
        for part in parts:
            part.check_arrays(checks, faults)
        with files or EventFiles() as opened:
            plan.check(opened, faults)
            faults.check()
            plan.run(opened, faults, self._chunk)
        for part in parts:
            part.check_events(checks, faults)
        faults.check()
        folder = ArrayFolder(self._folder)
        for part in parts:
            part.evaluate(folder, faults)
        faults.check()
        report = Report()
        for note in configuration.notes:
            report.say(note)
        if not configuration.observations:
            _say_asimov(configuration, factors, report)
        return {
            "version": VERSION,
            "channels": [part.channel(folder, report) for part in parts],
            "measurements": measurements(configuration),
            "observations": [part.observation(folder, report) for part in parts],
            "report": list(report.sentences()),
        }


def _say_asimov(
    configuration: Configuration, factors: dict[str, dict[str, float]], report: Report
) -> None:
    """Report in which regions the observed data are the Asimov set."""
    without = [repr(one.name) for one in configuration.regions if one.data is None]
    if not without:
        return
    some = len(without) < len(configuration.regions)
    where = f" of {', '.join(without)}" if some else ""
    plain = all(value == 1 for some in factors.values() for value in some.values())
    how = "" if plain else ", multiplied by the nominal values of factors and couplings"
    report.say(
        f"There is no section Observations: the observed data{where} are the Asimov "
        f"set, the sum of the nominal samples{how}."
    )
