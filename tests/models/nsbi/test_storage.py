"""What single precision of the stored densities costs in the result of a fit."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.models.nsbi import NsbiModel
from tests.models.nsbi import analytic


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [True, False])
def test_fits_with_single_precision_storage(normalize):
    rng = np.random.default_rng(5)
    x = rng.normal(0.2, 1.3, 4000)
    drawn = np.exp(-0.5 * ((x - 0.2) / 1.3) ** 2) / (1.3 * np.sqrt(2 * np.pi))
    data = analytic.events(x, analytic.mixture(x, 1.2, 0.3) / drawn / x.size)
    spec = analytic.spec(data)
    single, double = (
        NsbiModel.from_spec(spec, normalize=normalize, storage=storage)
        for storage in ("float32", "float64")
    )
    assert single.terms.events.changes.dtype == jnp.float32
    one, other = ew.fit(single), ew.fit(double)
    for name, error in other.errors.items():
        shift = abs(float(one.params[name]) - float(other.params[name]))
        # The densities differ, so that a difference of zero would be no comparison.
        assert 0 < shift < 1e-4 * float(error)
        np.testing.assert_allclose(one.errors[name], error, rtol=1e-4)
