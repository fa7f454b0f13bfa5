"""Small documents, and numbers of pyhf for the published ones."""

import pathlib


DATA = pathlib.Path(__file__).parents[1] / "models" / "histfactory" / "data"
QUICKSTART = DATA / "quickstart_2bin.json"
SEARCH = pathlib.Path(__file__).parents[2] / "docs/examples/data/search.json"

# Of quickstart_2bin.json: pyhf 0.7.6 with JAX and scipy, test statistic q-tilde; the
# files and their origin are in tests/models/histfactory/data.
TWICE_NLL = 15.748978439731484
POI = 1.5492625492555114
OBSERVED_LIMIT = 3.96729072132716
MEDIAN_LIMIT = 2.785489601539275
# Nuisance parameters at their nominal values: pyhf on the Asimov data before the fit.
MEDIAN_LIMIT_A_PRIORI = 2.73431


def modifier(name, kind, data=None):
    return {"name": name, "type": kind, "data": data}


def region(counts, background, signal, *more):
    """One channel with a signal and a background of 10 % uncertainty."""
    norm = modifier("norm", "normsys", {"lo": 0.9, "hi": 1.1})
    samples = [
        {"name": "signal", "data": signal, "modifiers": [modifier("mu", "normfactor")]},
        {"name": "background", "data": background, "modifiers": [norm, *more]},
    ]
    return {
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": counts}],
        "measurements": [
            {"name": "search", "config": {"poi": "mu", "parameters": []}},
            {"name": "other", "config": {"poi": "norm", "parameters": []}},
        ],
        "version": "1.0.0",
    }


TINY = region(
    [60.0, 52.0], [50.0, 40.0], [5.0, 8.0], modifier("stat", "staterror", [3.0, 2.0])
)
