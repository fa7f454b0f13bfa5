"""Make pyhf_reference.json: run with pyhf 0.7.6 and iminuit 2.33.0.

``python make_pyhf_reference.py > pyhf_reference.json``

The tolerance of Minuit is set far below its default, so that the numbers are good to
about 1e-7.
"""

import json
import sys

import iminuit
import numpy as np
import pyhf
from pyhf.infer import hypotest, test_statistics
from pyhf.infer.intervals.upper_limits import toms748_scan


MODELS = {
    "two bins": {
        "signal": [12.0, 11.0],
        "background": [50.0, 52.0],
        "uncertainty": [3.0, 7.0],
        "deficit": [51.0, 48.0],
        "excess": [68.0, 66.0],
    },
    "one bin": {
        "signal": [6.0],
        "background": [9.0],
        "uncertainty": [3.0],
        "deficit": [7.0],
        "excess": [19.0],
    },
}
POI = [0.5, 1.0, 1.7]
WIDE = (-5.0, 10.0)


def statistics(data, model):
    """Return all test statistics of one data set.

    pyhf takes the bound of the POI at 0 as what makes a test statistic one with tilde.
    """
    start = model.config.suggested_init()
    fixed = model.config.suggested_fixed()
    out = {}
    for name in ("tmu_tilde", "qmu_tilde", "tmu", "qmu"):
        ranges = model.config.suggested_bounds()
        tilde = name.endswith("tilde")
        ranges[model.config.poi_index] = (0.0, 10.0) if tilde else WIDE
        function = getattr(test_statistics, name)
        values = [function(mu, data, model, start, ranges, fixed) for mu in POI]
        out[name] = [float(v) for v in values]
    out["q0"] = float(test_statistics.q0(0.0, data, model, start, ranges, fixed))
    return out


def tests(data, model):
    """Return p-values, CLs and bands with the default of pyhf, q-tilde on mu >= 0."""
    rows = []
    for mu in POI:
        cls, (pnull, palt), band = hypotest(
            mu, data, model, return_tail_probs=True, return_expected_set=True
        )
        rows.append(
            {
                "poi": mu,
                "cls": float(cls),
                "pnull": float(pnull),
                "palt": float(palt),
                "expected": [float(v) for v in band],
            }
        )
    return rows


def main():
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-7))
    out = {
        "pyhf": pyhf.__version__,
        "iminuit": iminuit.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "poi": POI,
        "bounds": WIDE,
        "cases": [],
    }
    for name, numbers in MODELS.items():
        model = pyhf.simplemodels.uncorrelated_background(
            numbers["signal"], numbers["background"], numbers["uncertainty"]
        )
        for kind in ("deficit", "excess"):
            data = [*numbers[kind], *model.config.auxdata]
            limit, expected = toms748_scan(data, model, 0.02, 5.0, rtol=1e-9)
            discovery = hypotest(0.0, data, model, test_stat="q0")
            out["cases"].append(
                {
                    "model": name,
                    **{k: numbers[k] for k in ("signal", "background", "uncertainty")},
                    "data": numbers[kind],
                    "kind": kind,
                    "statistics": statistics(data, model),
                    "tests": tests(data, model),
                    "discovery": float(discovery),
                    "limit": float(limit),
                    "expected limits": [float(v) for v in expected],
                }
            )
    json.dump(out, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
