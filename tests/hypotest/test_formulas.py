"""The formulas of hypothesis tests."""

import jax
import numpy as np

from everwillow.hypotest import (
    cl_s,
    sigma_from_asimov,
    significance,
)


def test_cls_and_sigma():
    assert np.isnan(cl_s(0.0, 0.0))
    np.testing.assert_allclose(cl_s([0.02, 0.0], [0.4, 0.5]), [0.05, 0.0])
    np.testing.assert_allclose(jax.jit(cl_s)(0.02, 0.4), 0.05)
    np.testing.assert_allclose(sigma_from_asimov(0.0, 4.0, 1.0), 0.5)
    np.testing.assert_allclose(jax.jit(sigma_from_asimov)(2.0, 16.0, 0.0), 0.5)


def test_significance():
    np.testing.assert_allclose(significance(0.15865525393145707), 1.0, rtol=1e-12)
    assert significance(0.5) == 0.0
    assert significance(0.0) == np.inf
