"""A small template fit: six fitted bins, a masked channel, systematics of all kinds."""

import numpy as np

from everwillow.models.templates import TemplateBuilder


X = ("x", [0.0, 1.0, 2.0, 4.0])
SIGNAL = np.array([[40.0, 30.0], [60.0, 50.0], [20.0, 10.0]])
FLAT = np.array([[50.0, 60.0], [55.0, 50.0], [45.0, 40.0]])
DATA = np.array([[95.0, 88.0], [121.0, 104.0], [63.0, 55.0]])
TILT = np.array([[0.95], [1.0], [1.08]])


def builder(*, data=True):
    out = TemplateBuilder()
    out.add_channel([X, ("sign", ["minus", "plus"])], "ch0")
    out.add_channel([("cat", ["a", "b"])], "xsec", masked=True)
    out.add_process(SIGNAL, "signal", "ch0", signal=True, variances=SIGNAL / 20)
    out.add_process(FLAT, "flat", "ch0", variances=FLAT / 20)
    out.add_process([500.0, 300.0], "signal", "xsec", signal=True, variances=[1.0, 1.0])
    both = ["signal", "flat"]
    out.add_norm_systematic("lumi", both, "ch0", 1.02, groups="experiment")
    out.add_norm_systematic("flat_norm", "flat", "ch0", 1.1, groups="theory")
    out.add_systematic(SIGNAL * TILT, "tilt", "signal", "ch0", groups="theory")
    out.add_systematic([510.0, 295.0], "tilt", "signal", "xsec", groups="theory")
    slope = FLAT * np.array([[0.9], [1.0], [1.1]])
    out.add_systematic(slope, "slope", "flat", "ch0", constrained=False, noi=True)
    if data:
        out.add_data(DATA, "ch0")
    out.add_pseudodata(1.2 * SIGNAL + FLAT, "strong", "ch0")
    return out


MAPPINGS = (
    "Project ch0 x",
    "Normalize ch0 x",
    "Select ch0 signal sign:plus",
    "Ratio xsec xsec cat:a cat:b",
    "Project ch0 x; Project ch0 sign",
)
