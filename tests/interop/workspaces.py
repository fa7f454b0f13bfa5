"""Small workspaces in the format of pyhf, for the back-ends and for the references."""

import copy
from typing import Any


POINTS = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (2.0, -1.0), (0.0, 2.5), (-1.0, 0.3))
"""Values of mu and alpha at which -ln L of the document is tabulated."""


def two_bins() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the workspace that says what the HS3 document says, and its signal."""
    background = {
        "name": "bkg",
        "data": [40.0, 60.0],
        "modifiers": [
            {"name": "mu_bkg", "type": "normfactor", "data": None},
            {"name": "alpha_bkg", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
        ],
    }
    held = {"name": "mu_bkg", "inits": [1.0], "fixed": True}
    workspace = {
        "channels": [{"name": "channel", "samples": [background]}],
        "observations": [{"name": "channel", "data": [53.0, 57.0]}],
        "measurements": [
            {"name": "demo", "config": {"poi": "mu", "parameters": [held]}}
        ],
        "version": "1.0.0",
    }
    return workspace, [_addition("/channels/0/samples/1", [5.0, 5.0])]


def with_control_region(
    events: float,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a search with a control region of so many events, and its signal."""
    norm = {"name": "norm", "type": "normfactor", "data": None}
    scale = {"name": "scale", "type": "normsys", "data": {"hi": 1.04, "lo": 0.97}}
    tilt = {
        "name": "tilt",
        "type": "histosys",
        "data": {"hi_data": [33.0, 20.5, 8.0], "lo_data": [28.0, 19.0, 8.5]},
    }
    stat = {"name": "stat", "type": "shapesys", "data": [2.0, 1.5, 0.8]}
    search = {"name": "bkg", "data": [30.0, 20.0, 8.0]}
    control = {"name": "bkg", "data": [float(events)], "modifiers": [norm, scale]}
    workspace = {
        "channels": [
            {
                "name": "SR",
                "samples": [{**search, "modifiers": [norm, scale, tilt, stat]}],
            },
            {"name": "CR", "samples": [control]},
        ],
        "observations": [
            {"name": "SR", "data": [33.0, 17.0, 11.0]},
            {"name": "CR", "data": [float(round(1.02 * events))]},
        ],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    return workspace, [_addition("/channels/0/samples/1", [2.0, 4.0, 6.0])]


def _addition(path: str, yields: list[float]) -> dict[str, Any]:
    scaled = {"name": "mu", "type": "normfactor", "data": None}
    value = {"name": "signal", "data": yields, "modifiers": [scaled]}
    return {"op": "add", "path": path, "value": value}


def patched(workspace: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the workspace with its signal."""
    whole = copy.deepcopy(workspace)
    for operation in patch:
        _, _, channel, _, _ = operation["path"].split("/")
        samples = whole["channels"][int(channel)]["samples"]
        samples.append(copy.deepcopy(operation["value"]))
    return whole
