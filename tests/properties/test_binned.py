"""Any small binned likelihood, against the same in plain loops."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from everwillow.models.binned import BinnedModel
from tests.likelihood.binned import oracle
from tests.likelihood.binned.evaluation import evaluated
from tests.likelihood.binned.specs import binned_specs, point


# Each structure is a program to compile, a second or two.
FEW = 12
MANY = 150


@pytest.mark.slow
@settings(max_examples=FEW)
@given(spec=binned_specs(), seed=st.integers(0, 1000))
def test_value_and_derivatives_are_those_of_plain_loops(spec, seed):
    compare(spec, seed)


@pytest.mark.slow
@pytest.mark.exhaustive
@settings(max_examples=MANY, derandomize=False)
@given(spec=binned_specs(), seed=st.integers(0, 10**6))
def test_the_same_for_many_more(spec, seed):
    compare(spec, seed)


def compare(spec, seed):
    model = BinnedModel.from_spec(spec)
    counts = np.concatenate([channel.observed for channel in spec.channels])
    for zero in (None, "mu"):
        vector = point(spec, seed, zero=zero)
        found = evaluated(model, vector)
        rates = np.array(
            [
                float(rate)
                for rate in oracle.expected(
                    spec, oracle.in_order(spec, vector.tolist())
                )
            ]
        )
        np.testing.assert_allclose(found["expected"], rates, rtol=1e-11, atol=1e-11)
        if ((rates < 0) | ((rates == 0) & (counts > 0))).any():
            assert found["nll"] == found["value"] == np.inf
            continue
        exact = oracle.second_order(oracle.nll, spec, vector)
        np.testing.assert_allclose(found["nll"], exact.value, rtol=1e-11)
        np.testing.assert_allclose(found["value"], exact.value, rtol=1e-11)
        for name, wanted in (("gradient", exact.gradient), ("hessian", exact.hessian)):
            size = 1e-10 * np.max(np.abs(wanted))
            np.testing.assert_allclose(
                found[name], wanted, rtol=1e-9, atol=size, err_msg=f"{name}, {zero}=0"
            )
