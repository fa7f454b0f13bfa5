"""From files to results: functions that the command line and Python call alike."""

from typing import TYPE_CHECKING

from everwillow._lazy_names import lazy_names


if TYPE_CHECKING:
    from everwillow.workflows import (
        documents as documents,
        fixed as fixed,
        histfactory as histfactory,
        nsbi as nsbi,
        report as report,
        scale_smearing as scale_smearing,
        templates as templates,
    )


__getattr__, __dir__ = lazy_names(
    __name__,
    {},
    (
        "documents",
        "fixed",
        "histfactory",
        "nsbi",
        "report",
        "scale_smearing",
        "templates",
    ),
)
