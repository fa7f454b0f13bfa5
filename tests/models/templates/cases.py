"""The template fits of `tests/cases/templates`, as builders."""

import functools as ft
import json
import pathlib

import numpy as np

import everwillow as ew
from everwillow.models.templates.booking.builder import TemplateBuilder


FOLDER = pathlib.Path(__file__).parents[2] / "cases" / "templates"
NAMES = (
    "base",
    "asym",
    "conservative",
    "quadratic",
    "normal",
    "cov",
    "ext",
    "sparse",
    "noslope",
)


@ft.cache
def arrays():
    """Return all arrays by name, read-only."""
    with np.load(FOLDER / "inputs.npz") as file:
        out = {name: file[name] for name in file}
    for values in out.values():
        values.flags.writeable = False
    return out


@ft.cache
def descriptions():
    """Return what the arrays are, by name of the model."""
    return json.loads((FOLDER / "models.json").read_text())["models"]


def builder(name):
    """Return a new builder that has been told all of a model."""
    data, said = arrays(), descriptions()[name]
    out = TemplateBuilder(said["systematic_type"], sparse=said["sparse"])
    for channel, what in said["channels"].items():
        axes = [(axis, data[edges]) for axis, edges in what["axes"]]
        out.add_channel(axes, channel, masked=what["masked"])
    for process in said["processes"]:
        out.add_process(
            data[process["values"]],
            process["name"],
            process["channel"],
            signal=process["signal"],
            variances=data[process["variances"]],
        )
    for systematic in said["systematics"]:
        _add_systematic(out, systematic, data)
    for channel, values in said["data"].items():
        out.add_data(data[values], channel)
    if said["data_covariance"] is not None:
        out.add_data_covariance(data[said["data_covariance"]])
    if "external" in said:
        term = said["external"]
        names = term["params"]
        out.add_external_likelihood((names, term["grad"]), (names, term["hess"]))
    return out


@ft.cache
def fitted(name, **options):
    """Return a model and its fit to the data."""
    model = builder(name).build(**options)
    return model, ew.fit(model)


def _add_systematic(out, said, data):
    place = said["name"], said["process"], said["channel"]
    options = {
        "groups": said["groups"],
        "constrained": said.get("constrained", True),
        "noi": said.get("noi", False),
    }
    if said["kind"] == "norm":
        out.add_norm_systematic(*place, said["factor"], **options)
    elif "mirror" in said:
        out.add_systematic(data[said["mirror"]], *place, **options)
    else:
        pair = data[said["up"]], data[said["down"]]
        options["symmetrize"] = said["symmetrize"]
        out.add_systematic(pair, *place, **options)
