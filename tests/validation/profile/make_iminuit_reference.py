"""Make iminuit_reference.json: run with iminuit 2.33.0.

``python make_iminuit_reference.py > iminuit_reference.json``

The models are written in NumPy. MINOS and MNCONTOUR of Minuit stop when -2 ln L is
within 0.1 % or so of the level, whatever the tolerance of the fit, so errors are good
to about a part in a thousand; MNPROFILE is as good as the fits.
"""

import json
import sys

import iminuit
import numpy as np


COUNTS = [22.0, 15.0, 9.0, 6.0, 3.0, 4.0]
MODELS = {
    # A count over a background that another count measures.
    "search": {"start": {"mu": 1.0, "bkg": 10.0}, "pair": ["mu", "bkg"]},
    # A falling spectrum over a constrained background.
    "decay": {
        "start": {"height": 18.0, "level": 2.0, "rate": 0.6},
        "pair": ["height", "rate"],
    },
}


def search(mu, bkg):
    rate = 5 * mu + bkg
    return rate - 8.0 * np.log(rate) + 2 * bkg - 9.0 * np.log(2 * bkg)


def decay(height, level, rate):
    expected = height * np.exp(-rate * np.arange(6.0)) + level
    pull = (level - 2.1) / 0.3
    return np.sum(expected - np.array(COUNTS) * np.log(expected)) + 0.5 * pull**2


def case(name, function):
    """Return the numbers of one model."""
    start, pair = MODELS[name]["start"], MODELS[name]["pair"]
    minuit = iminuit.Minuit(function, **start)
    minuit.errordef, minuit.strategy, minuit.tol = 0.5, 2, 1e-6
    minuit.migrad()
    minuit.hesse()
    out = {
        "values": minuit.values.to_dict(),
        "fval": minuit.fval,
        "start": start,
        "pair": pair,
        "intervals": {},
        "profiles": {},
        "contours": {},
    }
    for cl in (0.6827, 0.95):
        minuit.minos(cl=cl)
        out["intervals"][str(cl)] = {
            key: [merror.lower, merror.upper] for key, merror in minuit.merrors.items()
        }
        points = minuit.mncontour(*pair, cl=cl, size=20)
        out["contours"][str(cl)] = np.asarray(points).tolist()
    for key in start:
        where, values, ok = minuit.mnprofile(key, size=7, bound=2)
        if not np.all(ok):
            sys.exit(f"{name}: the profile of {key} failed")
        out["profiles"][key] = [where.tolist(), values.tolist()]
    return out


if __name__ == "__main__":
    cases = {"search": case("search", search), "decay": case("decay", decay)}
    json.dump({"iminuit": iminuit.__version__, "cases": cases}, sys.stdout, indent=1)
