"""The numbers of another tool for the case in `data/case`, with the plain formula."""

import numpy as np
import pytest

import everwillow as ew
from everwillow.models import nsbi
from tests.models.nsbi.case import CONFIGURATIONS, expected


@pytest.fixture(scope="module")
def workspaces(case_folder):
    return {
        name: nsbi.WorkspaceBuilder(case_folder / file).build()
        for name, file in CONFIGURATIONS.items()
    }


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_values_and_gradients(workspaces, name):
    case = expected()[name]
    model = nsbi.load(workspaces[name], normalize=False)
    vector = nsbi.VectorLikelihood.of(model)
    assert list(vector.names) == case["parameter_order_reference"]
    assert dict(zip(vector.names, vector.starts, strict=True)) == case["initial_values"]
    at_start, gradient = vector.value_and_gradient(vector.starts)
    np.testing.assert_allclose(
        2 * gradient, [case["grad_at_init"][n] for n in vector.names], atol=1e-5
    )
    tolerances = case["tolerances"]
    for point in case["points"]:
        x = np.array([point["params"][parameter] for parameter in vector.names])
        value, gradient = vector.value_and_gradient(x)
        np.testing.assert_allclose(
            2 * (value - at_start),
            point["delta_nll"],
            rtol=1e-10,
            atol=tolerances["delta_nll_abs"],
        )
        np.testing.assert_allclose(
            2 * gradient,
            [point["grad"][parameter] for parameter in vector.names],
            rtol=tolerances["grad_rel"],
            atol=tolerances["grad_abs"],
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_fits(workspaces, name):
    case = expected()[name]
    result = ew.fit(nsbi.load(workspaces[name], normalize=False))
    for parameter, error in case["fit"]["errors_inverse_hessian"].items():
        found = float(result.errors[parameter])
        np.testing.assert_allclose(found, error, rtol=1e-6)
        np.testing.assert_allclose(
            float(result.params[parameter]),
            case["fit"]["best_fit"][parameter],
            atol=1e-6 * error,
        )


def test_any_errordef_gives_the_same_likelihood(workspaces):
    """`nll` is -ln L, with half the square of each nuisance parameter."""
    workspace = workspaces["histogram"]
    measurement = dict(workspace["measurements"][0])
    config = dict(measurement["config"], errordef="LIKELIHOOD")
    measurements = [dict(measurement, errordef="LIKELIHOOD", config=config)]
    one = nsbi.load(workspace)
    other = nsbi.load(dict(workspace, measurements=measurements))
    assert any("errordef" in sentence for sentence in one.report)
    pulled = {**one.state.to_pytree(), "JES": 1.0}
    values = [
        [model.constraint_nll(params) for params in (one.state, pulled)]
        for model in (one, other)
    ]
    assert values[0] == values[1]
    np.testing.assert_allclose(values[0][1] - values[0][0], 0.5)


@pytest.mark.slow
def test_normalised_densities_widen_the_errors_of_systematics(workspaces):
    """Without normalisation the integrals carry information that does not exist."""
    workspace = workspaces["nsbi"]
    plain = ew.fit(nsbi.load(workspace, normalize=False))
    normalised = ew.fit(nsbi.load(workspace))
    for name in ("JES", "TES"):
        assert float(normalised.errors[name]) > 1.2 * float(plain.errors[name])
