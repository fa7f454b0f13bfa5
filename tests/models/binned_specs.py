"""Small binned likelihoods for fits: one structure, any numbers."""

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.models.binned import BinnedModel


UNIT = ConstraintSpec("normal", 0.0, 1.0)


def search_spec(
    *,
    signal=(5.0, 9.0, 4.0),
    observed=(48.0, 57.0, 40.0),
    control=210.0,
    names=("mu", "xs", "jes", "stat", "lumi"),
    fixed=False,
    poi_range=(-5.0, 20.0),
):
    """A signal region of three bins with gammas, and a control region of one."""
    mu, xs, jes, stat, lumi = names
    background = np.array([45.0, 44.0, 35.0])
    shape = ShapeVariation(
        jes, background * [0.95, 1.01, 1.03], background * [1.04, 1.0, 0.96]
    )
    region = ChannelSpec(
        "SR",
        np.array(observed),
        (
            SampleSpec("signal", np.array(signal), (Scale(mu), Scale(lumi))),
            SampleSpec(
                "background",
                background,
                (NormVariation(xs, 0.9, 1.12), shape, BinScale(stat)),
            ),
        ),
    )
    calibration = ChannelSpec(
        "CR",
        np.array([control]),
        (
            SampleSpec(
                "background",
                np.array([200.0]),
                (NormVariation(xs, 0.93, 1.08), Scale(lumi)),
            ),
        ),
    )
    parameters = (
        ParameterSpec(mu, 1.0, *poi_range),
        ParameterSpec(xs, 0.0, -5.0, 5.0, constraint=UNIT),
        ParameterSpec(jes, 0.0, -5.0, 5.0, constraint=UNIT),
        ParameterSpec(
            stat,
            np.ones(3),
            1e-10,
            10.0,
            fixed=fixed,
            constraint=ConstraintSpec("poisson", np.full(3, 400.0), np.full(3, 400.0)),
        ),
        ParameterSpec(
            lumi, 1.0, 0.8, 1.2, constraint=ConstraintSpec("normal", 1, 0.02)
        ),
    )
    return BinnedSpec((region, calibration), parameters, poi=mu, report=("assumed",))


def search(**numbers):
    return BinnedModel.from_spec(search_spec(**numbers))
