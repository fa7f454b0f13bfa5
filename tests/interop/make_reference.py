"""Write reference.json with spey 0.2.7, spey-pyhf 0.2.2 and pyhf 0.7.6 (NumPy, SLSQP).

In an environment of its own, as it needs none of everwillow::

    pip install spey==0.2.7 spey-pyhf==0.2.2 pyhf==0.7.6
    python tests/interop/make_reference.py
"""

import json
import pathlib
import sys

import spey


sys.path.insert(0, str(pathlib.Path(__file__).parent))

from workspaces import POINTS, two_bins, with_control_region


KINDS = ("observed", "apriori", "aposteriori")


def numbers(workspace, patch):
    """Return what spey says of a workspace with its signal."""
    model = spey.get_backend("pyhf")(
        background_only_model=workspace, signal_patch=patch, analysis="reference"
    )
    expected = {kind: spey.ExpectationType[kind] for kind in KINDS}
    asimov, observed, p_values, _ = model.significance()
    return {
        "exclusion": {
            kind: [float(x) for x in model.exclusion_confidence_level(expected=one)]
            for kind, one in expected.items()
        },
        "limit": {
            kind: float(model.poi_upper_limit(expected=one))
            for kind, one in expected.items()
        },
        "chi2": [float(model.chi2(poi_test=mu)) for mu in (0.0, 1.0, 2.0, 4.0)],
        "significance": [float(asimov), float(observed), float(p_values[0])],
        "minimum_poi": float(model.backend.config().minimum_poi),
        "minimum": float(model.maximize_likelihood()[1]),
    }


def table():
    """Return -ln L of the two bins at some values of mu and alpha."""
    workspace, patch = two_bins()
    backend = spey.get_backend("pyhf")(
        background_only_model=workspace, signal_patch=patch
    ).backend
    names, log_density = backend.config().parameter_names, backend.get_logpdf_func()
    values = []
    for mu, alpha in POINTS:
        point = {"mu": mu, "alpha_bkg": alpha, "mu_bkg": 1.0}
        values.append(-float(log_density([point[name] for name in names])))
    return values


def main():
    """Write the file."""
    found = {
        "two_bins": numbers(*two_bins()),
        "control_5000": numbers(*with_control_region(5000.0)),
        "control_1e6": numbers(*with_control_region(1e6)),
        "table": table(),
    }
    path = pathlib.Path(__file__).with_name("reference.json")
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
