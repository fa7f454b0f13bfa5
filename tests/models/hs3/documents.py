"""Small HS3 documents, built piece by piece."""

import copy
import json
import pathlib


DATA = pathlib.Path(__file__).parent / "data"


def expected():
    return json.loads((DATA / "expected.json").read_text())


def stored(name):
    return json.loads((DATA / f"{name}.hs3.json").read_text())


def modifier(kind, parameter=None, **entries):
    made = {"type": kind} | entries
    return made if parameter is None else made | {"parameter": parameter}


def sample(name, contents, *modifiers, errors=None):
    data = {"contents": list(contents)}
    if errors is not None:
        data["errors"] = list(errors)
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def channel(name, *samples, **entries):
    return {
        "name": name,
        "type": "histfactory_dist",
        "samples": list(samples),
    } | entries


def document(*channels, observed=None, points=None, ranges=None, **entries):
    """A document with one analysis of histfactory channels.

    `observed` has the counts by channel (default: the sum of its samples), `points`
    values by parameter (a tuple ``(value,)`` is constant), `ranges` pairs.
    """
    observed = observed or {}
    counts = {
        c["name"]: observed[c["name"]] if c["name"] in observed else total(c)
        for c in channels
    }
    made = {
        "metadata": {"hs3_version": "0.2"},
        "distributions": [*channels, *entries.pop("more", [])],
        "data": [
            {"name": f"obs_{name}", "type": "binned", "contents": list(n)}
            for name, n in counts.items()
        ],
        "likelihoods": [
            {
                "name": "L",
                "distributions": list(counts),
                "data": [f"obs_{name}" for name in counts],
            }
            | entries.pop("likelihood", {})
        ],
        "analyses": [
            {
                "name": "A",
                "likelihood": "L",
                "domains": ["D"],
                "parameters_of_interest": ["mu"],
                "init": "P",
            }
        ],
        "domains": [
            {
                "name": "D",
                "type": "product_domain",
                "axes": [
                    {"name": n, "min": low, "max": high}
                    for n, (low, high) in (ranges or {}).items()
                ],
            }
        ],
        "parameter_points": [
            {
                "name": "P",
                "parameters": [
                    {"name": n, "value": v[0], "const": True}
                    if isinstance(v, tuple)
                    else {"name": n, "value": v}
                    for n, v in (points or {}).items()
                ],
            }
        ],
    }
    return copy.deepcopy(made | entries)


def total(made):
    contents = [one["data"]["contents"] for one in made["samples"]]
    return [sum(bins) for bins in zip(*contents, strict=True)]


MU = modifier("normfactor", "mu")
SIGNAL = sample("signal", [5.0, 6.0], MU)


def parameter(spec, name):
    (found,) = [entry for entry in spec.parameters if entry.name == name]
    return found


def constraint(spec, name):
    found = parameter(spec, name).constraint
    return None if found is None else (found.kind, found.aux, found.width)


def peak_over_flat(data):
    """A document of a peak over a flat background on (0, 10), for events or counts.

    Args:
        data: The entries of its data but for name and axes.
    """
    bins = {"nbins": len(data["contents"])} if data["type"] == "binned" else {}
    axis = {"name": "m", "min": 0.0, "max": 10.0} | bins
    gaussian = {"type": "gaussian_dist"}
    ranges = {"mu": (0, 10), "mean": (2, 8), "theta": (0, 5)}
    return {
        "metadata": {"hs3_version": "0.2"},
        "distributions": [
            gaussian | {"name": "peak", "x": "m", "mean": "mean", "sigma": 0.7},
            {"name": "flat", "type": "uniform_dist", "x": "m"},
            {"name": "spectrum", "type": "mixture_dist", "summands": ["peak", "flat"]}
            | {"coefficients": ["signal", "background"], "extended": True},
            gaussian | {"name": "rate", "x": "b0", "mean": "theta", "sigma": 0.1},
            gaussian | {"name": "scale", "x": "m0", "mean": "mean", "sigma": 0.2},
        ],
        "functions": [
            {"name": "signal", "type": "product", "factors": ["mu", 6.0]},
            {"name": "background", "type": "product", "factors": ["theta", 30.0]},
        ],
        "data": [{"name": "observed", "axes": [axis]} | data],
        "likelihoods": [
            {
                "name": "L",
                "distributions": ["spectrum"],
                "data": ["observed"],
                "aux_distributions": ["rate", "scale"],
            }
        ],
        "analyses": [
            {
                "name": "A",
                "likelihood": "L",
                "domains": ["D"],
                "parameters_of_interest": ["mu"],
                "init": "P",
            }
        ],
        "domains": [
            {
                "name": "D",
                "type": "product_domain",
                "axes": [
                    {"name": name, "min": low, "max": high}
                    for name, (low, high) in ranges.items()
                ],
            }
        ],
        "parameter_points": [
            {
                "name": "P",
                "parameters": [
                    {"name": "mu", "value": 1.0},
                    {"name": "theta", "value": 1.0},
                    {"name": "mean", "value": 5.0},
                    {"name": "b0", "value": 1.0, "const": True},
                    {"name": "m0", "value": 5.0, "const": True},
                ],
            }
        ],
    }
