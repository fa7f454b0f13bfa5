"""One figure of each kind, whose pictures are compared with those stored here.

Run ``python -m tests.plotting.pictures`` to draw them anew, and look at each.
"""

import io
import pathlib

import numpy as np
from matplotlib import image

from everwillow import plotting


FOLDER = pathlib.Path(__file__).parent / "baselines"
# The font that comes with matplotlib, so that every machine draws the same.
STYLE = {"font.sans-serif": ["DejaVu Sans"], "mathtext.fontset": "dejavusans"}
OPTIONS = {"style": STYLE, "title": "Internal", "note": "13 TeV"}
NAMES = ["lumi", "JES_flavour", "bTag_B_0", "ttbar_hdamp", "XS_VV", "gamma[0]"]
PULLS = np.array([0.2, -1.3, np.nan, 6.2, 0.0, 0.7])
ERRORS = np.array([[0.9, 0.5, 1, 1, np.nan, 0.8], [0.8, 0.6, 1, 1, np.nan, 0.9]])
UP = np.array([0.02, -0.11, 0.05, np.nan, 0.03, 0.08])
DOWN = np.array([-0.02, 0.09, 0.02, -0.06, np.nan, -0.1])
MU = np.linspace(-0.2, 2.2, 13)
MASS = np.array([300.0, 500.0, 800.0, 1200.0])
EXPECTED = np.outer([40.0, 12.0, 3.0, 0.9], [0.5, 0.7, 1.0, 1.4, 1.9])


def circle(radius):
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return 1 + radius * np.stack([np.cos(angle), np.sin(angle + 0.5)], axis=-1)


def pulls():
    return plotting.pulls(
        names=NAMES, values=PULLS, errors=ERRORS, size=(4, 2.6), **OPTIONS
    )


def ranking():
    return plotting.ranking(
        names=NAMES,
        up=UP,
        down=DOWN,
        prefit_up=1.3 * UP,
        linear=0.9 * UP,
        pulls=PULLS,
        errors=ERRORS,
        poi="mu",
        labels={"mu": r"$\mu$"},
        size=(6, 3),
        **OPTIONS,
    )


def scan():
    heights = ((MU - 1) / 0.3) ** 2
    heights[2] = np.nan
    return plotting.scan(
        values=MU,
        twice_delta_nll=heights,
        best=1.0,
        stat_only=(MU, ((MU - 1) / 0.2) ** 2),
        others={"Expected": (MU, ((MU - 0.9) / 0.4) ** 2)},
        name="mu",
        **OPTIONS,
    )


def contour():
    gap = circle(0.6)
    gap[4:7] = np.nan
    return plotting.contour(
        curves=[circle(0.4), gap],
        best=(1, 1),
        names=("kV", "kF"),
        reference={"SM": (1, 0.9)},
        others={"Stat.": [circle(0.2), circle(0.3)]},
        **OPTIONS,
    )


def correlation():
    matrix = np.array([[1, -0.3, np.nan], [-0.3, 1, np.nan], [np.nan] * 3])
    return plotting.correlation(
        names=NAMES[:3], matrix=matrix, size=(3.4, 3.0), **OPTIONS
    )


def brazil_band():
    expected = np.exp(-np.outer(MU + 0.2, [4, 3, 2, 1.4, 1]))
    observed = np.exp(-2.3 * (MU + 0.2))
    observed[5] = np.nan
    return plotting.brazil_band(
        values=MU, observed=observed, expected=expected, name="mu", **OPTIONS
    )


def brazil_band_log():
    return plotting.brazil_band(
        values=MASS, expected=EXPECTED, level=None, log=True, name="mass", **OPTIONS
    )


def limit_summary():
    return plotting.limit_summary(
        names=["2016", "2017", "2018", "all"],
        expected=np.where([[True], [True], [False], [True]], EXPECTED, np.nan),
        observed=[35.0, 14.0, np.nan, 1.5],
        reference=1.0,
        log=True,
        size=(5, 2.8),
        **OPTIONS,
    )


def distribution():
    edges = np.linspace(0, 100, 11)
    falling = 80 * np.exp(-edges[1:] / 30)
    total = falling + 12
    data = np.round(total * 1.1)
    data[-1] = np.nan
    return plotting.distribution(
        edges=edges,
        samples={"Z+jets": falling, "VV": np.full(10, 12.0)},
        observed=data,
        errors=0.1 * total,
        prefit=0.8 * total,
        signal={"signal": 20 * np.exp(-(((edges[1:] - 60) / 10) ** 2))},
        name="mass [GeV]",
        **OPTIONS,
    )


def convergence():
    return plotting.convergence(nlls=[1e4, 300.0, 20.0, 5.1, 5.0, 5.0], **OPTIONS)


def sensitivity():
    gap = ((MU - 1) / 0.25) ** 2
    gap[4] = np.nan
    return plotting.sensitivity(
        {"Histogram": (MU, ((MU - 1) / 0.4) ** 2, 1.0), "NSBI": (MU, gap, 1.0)},
        stat_only={"NSBI": (MU, ((MU - 1) / 0.2) ** 2, 1.0)},
        name="mu",
        labels={"mu": r"$\mu$"},
        **OPTIONS,
    )


CLOSURE = {
    "edges": np.linspace(0, 4, 9),
    "target": np.array([3, 9, 22, 31, 40, 28, 12, 7.0]),
    "target_errors": np.sqrt([3, 9, 22, 31, 40, 28, 12, 7.0]),
    "reweighted": np.array([4, 10, 20, 33, 38, 27, 15, 3.0]),
    "reweighted_errors": np.array([0.4, 0.8, 1.5, 2, 2, 2, 1.5, 0.9]),
    "source": np.array([30, 30, 28, 24, 18, 12, 6, 2.0]),
}


class Goodness:
    statistic, ndof, pvalue = 7.31, 8.0, 0.504


def reweighting_closure():
    return plotting.reweighting_closure(
        **CLOSURE,
        goodness=Goodness(),
        normalisation=(0.988, 0.012),
        target_name="Signal",
        name="mass",
        **OPTIONS,
    )


CALIBRATION = {
    "edges": np.linspace(0, 1, 6),
    "predicted": np.array([0.08, 0.29, 0.52, 0.71, np.nan]),
    "fraction": np.array([0.09, 0.33, 0.5, 0.69, np.nan]),
    "errors": np.array([0.01, 0.04, 0.05, 0.03, np.nan]),
    "counts": np.array([[30, 70, 120, 210, 0], [300, 150, 110, 90, 0]]),
}


def calibration_curve():
    return plotting.calibration_curve(**CALIBRATION, goodness=Goodness(), **OPTIONS)


# Infinite bins of R9; one category without a number, one without an error, and one
# smearing at zero.
CATEGORIES = {
    "categories": {"eta": [-2.5, 0.0, 1.5, 2.5], "r9": [-np.inf, 0.94, np.inf]},
    "resp": np.array([0.992, 0.996, 0.9985, 1.002, np.nan, 1.0045]),
    "eresp": np.array([0.0015, 0.0008, 0.0006, np.nan, np.nan, 0.0005]),
    "eresp_stat": np.array([0.0009, 0.0005, 0.0003, np.nan, np.nan, 0.0002]),
    "eresp_mc": np.array([0.0006, 0.0004, 0.0002, np.nan, np.nan, 0.0001]),
    "reso": np.array([0.024, 0.018, 0.0, 0.009, np.nan, 0.008]),
    "ereso": np.array([0.0018, 0.0022, np.nan, 0.0007, np.nan, 0.0008]),
    "ereso_stat": np.array([0.0016, 0.0012, np.nan, 0.0005, np.nan, 0.0007]),
    "ereso_mc": np.array([0.0009, 0.0007, np.nan, 0.0004, np.nan, 0.0005]),
    "reso_upper": np.array([np.nan, np.nan, 0.004, np.nan, np.nan, np.nan]),
}
TRUTH = {
    "resp": [0.993, 0.9962, 0.998, 1.001, 1.0, 1.005],
    "reso": [0.025, 0.017, 0.002, 0.009, 0.01, 0.007],
}


def sas_parameters():
    return plotting.sas_parameters(
        CATEGORIES,
        truth=TRUTH,
        labels={"eta": r"$\eta$", "r9": "$R_9$"},
        **OPTIONS,
    )


REGIONS = [
    {
        "categories": (0, 0),
        "edges": [80, 88, 90, 92, 94, 100],
        "data": np.array([80, 210, 330, 190, 88.0]),
        "expected": np.array([90, 205, 320, 205, 78.0]),
    },
    {
        "categories": (0, 1),
        "edges": [80, 86, 91, 96, 100],
        "data": np.array([0, 12, 9, 1.0]),
        "expected": np.array([0, 11, 10.5, 0.5]),
    },
]


def sas_regions():
    return plotting.sas_regions(REGIONS, **OPTIONS)


PICTURES = (
    pulls,
    ranking,
    scan,
    contour,
    correlation,
    brazil_band,
    brazil_band_log,
    limit_summary,
    distribution,
    convergence,
    sensitivity,
    reweighting_closure,
    calibration_curve,
    sas_parameters,
    sas_regions,
)


def drawn(figure) -> np.ndarray:
    """Return the picture of a figure, small enough to be stored."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    buffer.seek(0)
    return image.imread(buffer)[..., :3]


def write() -> None:
    for make in PICTURES:
        make().savefig(FOLDER / f"{make.__name__}.png", dpi=50)


if __name__ == "__main__":
    write()
