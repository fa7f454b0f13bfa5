"""Tables of branches: how the columns used here are found in files of known layouts."""

import dataclasses
from collections.abc import Mapping

from everwillow._errors import nearest, unknown_key
from everwillow.models.event_files import EventTable
from everwillow.models.event_filter import EventExpression


@dataclasses.dataclass(frozen=True)
class Preset:
    """A known layout of files.

    Attributes:
        branches: Expressions of the columns of a file by the names used here.
        tree: The name of the tree, or empty.
    """

    branches: Mapping[str, str]
    tree: str = ""


_LEPTON = ("pt", "eta", "phi", "ScEta", "r9", "energyErr", "energyRaw", "seedGain")

PRESETS: Mapping[str, Preset] = {
    # Parquet files with one object of each rank: lead_pt, sublead_pt, ...
    "higgsdna": Preset(
        {
            f"{name}{suffix}": f"{rank}_{name}"
            for suffix, rank in (("1", "lead"), ("2", "sublead"))
            for name in _LEPTON
        }
        | {"AbsScEta1": "abs(lead_ScEta)", "AbsScEta2": "abs(sublead_ScEta)"}
    ),
    # ROOT files whose branches are arrays with the electrons of an event.
    "ecalelf": Preset(
        {
            f"{name}{place + 1}": text.replace("[]", f"[{place}]")
            for place in (0, 1)
            for name, text in (
                ("ScEta", "etaSCEle[]"),
                ("AbsScEta", "abs(etaSCEle[])"),
                ("eta", "etaEle[]"),
                ("phi", "phiEle[]"),
                ("r9", "R9Ele[]"),
                ("energy", "energy_ECAL_ele[]"),
                ("pt", "energy_ECAL_ele[] / cosh(etaEle[])"),
                ("seedGain", "gainSeedSC[]"),
            )
        }
        | {
            "mass": "invMass_ECAL_ele",
            "weight": "mcGenWeight",
            "run": "runNumber",
        },
        "selected",
    ),
}
"""Known layouts by name, which entries of a table of branches replace and extend."""


def preset(name: str) -> Preset:
    """Return a known layout.

    Raises:
        UnknownKeyError: If there is none of this name.

    Example:
        >>> preset("ecalelf").branches["pt1"]
        'energy_ECAL_ele[0] / cosh(etaEle[0])'
    """
    if name not in PRESETS:
        raise unknown_key(name, PRESETS, where="branches", kind="layout")
    return PRESETS[name]


def expressions(
    table: EventTable, names: tuple[str, ...], branches: Mapping[str, str]
) -> dict[str, EventExpression]:
    """Return how the columns used here are computed from those of a table.

    Args:
        table: The columns of a file.
        names: The names used here.
        branches: Columns of the file, or expressions of them, by the names used here;
            other columns have the same name in the file.

    Raises:
        ArgumentValueError: If one is no expression.
    """
    found = {}
    for name in names:
        text = branches.get(name, name)
        plain = text in table.columns or name not in branches
        found[name] = EventExpression(f"`{text}`" if plain else text)
    return found


def missing_columns(
    table: EventTable, names: tuple[str, ...], branches: Mapping[str, str]
) -> dict[str, str]:
    """Return a sentence for each name whose columns are not in a table.

    Args:
        table: As for `expressions`.
        names: As for `expressions`.
        branches: As for `expressions`.

    Raises:
        ArgumentValueError: If one is no expression.
    """
    found = {}
    for name, expression in expressions(table, names, branches).items():
        problems = table.missing(expression.names)
        if not problems:
            continue
        problem = " ".join(problems)
        if name in branches:
            problem = f"{problem} It is {name!r} by the table of branches."
        elif not nearest(name, table.columns):
            shown = ", ".join(table.columns[:10])
            more = ", ..." if len(table.columns) > 10 else ""
            problem = f"{problem} Its columns are: {shown}{more}."
        found[name] = problem
    return found
