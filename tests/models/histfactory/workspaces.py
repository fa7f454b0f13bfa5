"""Small workspaces that have every type of modifier and every odd combination."""

import copy
import pathlib

import numpy as np


DATA = pathlib.Path(__file__).parent / "data"
REFERENCE = pathlib.Path(__file__).parent / "reference.json"
PUBLISHED = (
    "quickstart_2bin",
    "susy_1Lbb_simplified",
    "susy_2L0J_simplified",
    "susy_bottom_squarks",
)


def modifier(name, kind, data=None):
    return {"name": name, "type": kind, "data": data}


def sample(name, data, *modifiers):
    return {"name": name, "data": list(data), "modifiers": list(modifiers)}


def workspace(channels, observed, poi="mu", parameters=(), name="meas"):
    """Channels by name to lists of samples, observed counts by name."""
    return {
        "channels": [{"name": n, "samples": s} for n, s in channels.items()],
        "observations": [{"name": n, "data": d} for n, d in observed.items()],
        "measurements": [
            {"name": name, "config": {"poi": poi, "parameters": list(parameters)}}
        ],
        "version": "1.0.0",
    }


def tiny():
    """One bin, a signal and a background with a systematic: the smallest useful one."""
    return workspace(
        {
            "SR": [
                sample("signal", [5.0], modifier("mu", "normfactor")),
                sample(
                    "bkg", [50.0], modifier("xs", "normsys", {"lo": 0.9, "hi": 1.2})
                ),
            ]
        },
        {"SR": [57.0]},
    )


def every_type():
    """All seven types, bins without errors, and settings of every kind of parameter.

    Channels and samples are not sorted, so that their order matters.
    """
    signal = sample(
        "signal",
        [5.0, 9.0, 0.0],
        modifier("mu", "normfactor"),
        modifier("lumi", "lumi"),
    )
    shape = {"lo_data": [48.0, 60.5, 11.0], "hi_data": [53.0, 57.0, 12.5]}
    top = sample(
        "top",
        [50.0, 60.0, 12.0],
        modifier("theory", "normsys", {"lo": 0.92, "hi": 1.05}),
        modifier("jes", "histosys", shape),
        modifier("stat_SR", "staterror", [2.0, 3.0, 0.0]),
        modifier("lumi", "lumi"),
    )
    fakes = sample(
        "fakes",
        [3.0, 0.0, 2.0],
        modifier("fake_rate", "shapesys", [1.0, 0.5, 0.0]),
        modifier("stat_SR", "staterror", [0.5, 0.1, 0.0]),
        modifier("jes", "normsys", {"lo": 0.97, "hi": 1.04}),
    )
    control = [
        sample(
            "top",
            [200.0, 210.0],
            modifier("jes", "normsys", {"lo": 0.99, "hi": 1.03}),
            modifier("mu_top", "normfactor"),
            modifier("stat_CR", "staterror", [5.0, 6.0]),
        ),
        sample("data_driven", [100.0, 90.0], modifier("free", "shapefactor")),
    ]
    parameters = [
        {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0]}
        | {"bounds": [[0.5, 1.5]]},
        {"name": "mu", "bounds": [[-1.0, 20.0]], "inits": [0.7]},
        {"name": "theory", "auxdata": [0.3], "bounds": [[-3.0, 3.0]], "inits": [0.1]},
        {"name": "stat_CR", "sigmas": [0.03, 0.04], "auxdata": [1.01, 0.99]},
        {"name": "fake_rate", "factors": [8.0, 1.0, 2.0], "fixed": True},
        {"name": "mu_top", "fixed": True},
        {"name": "free", "inits": [0.9, 1.1], "bounds": [[0.1, 3.0], [0.2, 4.0]]},
    ]
    return workspace(
        {"SR": [top, signal, fakes], "CR": control},
        {"SR": [60.0, 71.0, 15.0], "CR": [305.0, 290.0]},
        parameters=parameters,
    )


def shared_arrays():
    """Arrays that two channels share: a staterror, and a shapefactor of fewer bins."""
    free = modifier("free", "shapefactor")
    return workspace(
        {
            "b": [
                sample("bkg", [30.0, 40.0], modifier("stat", "staterror", [3.0, 2.0])),
                sample("signal", [5.0, 6.0], modifier("mu", "normfactor"), free),
            ],
            "a": [
                sample(
                    "bkg", [9.0, 8.0, 7.0], modifier("stat", "staterror", [1.0, 2.0, 0])
                ),
                sample("other", [2.0, 3.0, 4.0], free),
            ],
        },
        {"a": [11.0, 12.0, 10.0], "b": [33.0, 47.0]},
    )


def one_sided():
    """Systematics to one side only, beyond the range, and a negative yield."""
    return workspace(
        {
            "SR": [
                sample(
                    "bkg",
                    [20.0, 10.0],
                    modifier("up", "normsys", {"lo": 1.1, "hi": 1.3}),
                    modifier(
                        "far",
                        "histosys",
                        {"lo_data": [22.0, 0.0], "hi_data": [25.0, 14.0]},
                    ),
                ),
                sample("minus", [-0.5, 1.0], modifier("mu", "normfactor")),
            ]
        },
        {"SR": [21.0, 0.0]},
    )


SMALL = {
    "tiny": tiny,
    "every_type": every_type,
    "shared_arrays": shared_arrays,
    "one_sided": one_sided,
}

# Name of `interpolation` to the settings of modifiers in pyhf.
INTERPOLATIONS = {
    "default": {"normsys": "code4", "histosys": "code4p"},
    "pyhf-python": {"normsys": "code1", "histosys": "code0"},
    "parabolic": {"normsys": "code1", "histosys": "code2"},
}


def points(inits, bounds, fixed):
    """Return a few places, within the bounds, where systematics are beyond 1 too."""
    inits, bounds = np.asarray(inits), np.asarray(bounds)
    signs = np.where(np.arange(len(inits)) % 3 == 1, -1.0, 1.0)
    room = np.minimum(bounds[:, 1] - inits, inits - bounds[:, 0])
    scale = np.where(inits == 0, 1.0, 0.12) * signs
    made = [inits]
    for step in (0.4, 1.3, -0.8):
        moved = np.where(np.asarray(fixed), 0.0, step * scale)
        made.append(inits + np.clip(moved, -0.9 * room, 0.9 * room))
    return made


def other():
    """A second workspace to combine with `tiny`: another region, one common name."""
    return workspace(
        {
            "VR": [
                sample("bkg", [8.0], modifier("xs", "normsys", {"lo": 0.8, "hi": 1.1}))
            ]
        },
        {"VR": [9.0]},
        parameters=[{"name": "xs", "bounds": [[-4.0, 4.0]]}],
    )


def overlapping():
    """`tiny` with a sample more in its channel, and other settings."""
    made = copy.deepcopy(tiny())
    made["channels"][0]["samples"].append(sample("rare", [0.5]))
    made["measurements"][0]["config"]["parameters"] = [{"name": "mu", "inits": [2.0]}]
    return made


def background():
    """`tiny` without its signal: what a patch set is for."""
    made = tiny()
    del made["channels"][0]["samples"][0]
    return made
