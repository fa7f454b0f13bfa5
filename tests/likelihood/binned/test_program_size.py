"""How large compiled programs are: as large for 50 channels as for 3."""

import jax
import jax.numpy as jnp
import pytest

from everwillow.engine import programs
from everwillow.engine.adjoint import minimise
from everwillow.fitting.run import prepare_task, resolve
from everwillow.models.binned import BinnedModel
from tests.likelihood.binned.specs import sized


def evaluation(flat, vector, observation):
    found = flat.evaluation(vector, observation)
    return found.value, found.gradient, found.curvature, found.gauss_newton


def operations(lowered):
    """Return the number of lines of the program, which are its operations."""
    return len(lowered.as_text().splitlines())


def size_of_evaluation(spec):
    model = BinnedModel.from_spec(spec)
    vector = jnp.ones(model.terms.size)
    return operations(jax.jit(evaluation).lower(model.flat, vector, model.observation))


def size_of_fit(spec):
    """Lower what `fit` compiles, errors and all."""
    model = BinnedModel.from_spec(spec)
    arrays, static = programs.split(prepare_task(resolve(model)))
    return operations(programs._compiled(minimise, ()).lower(static, arrays))


# With 64 factors of bins the curvature becomes an `Arrow`, up to 16 parameters are
# solved for without a library, and for hundreds a Hessian serves several steps: each
# of these is another program.
PAIRS = {
    "channels": (sized(20, 2, 3, bins=24), sized(50, 2, 3, bins=24)),
    "fewer channels": (sized(3, 2, 3, bins=24), sized(10, 2, 3, bins=24)),
    "channels, dense": (sized(5, 2, 3), sized(20, 2, 3)),
    "samples": (sized(4, 5, 3), sized(4, 50, 3)),
    "effects": (sized(3, 2, 5), sized(3, 2, 50)),
    "bins": (sized(3, 2, 3, bins=24), sized(3, 2, 3, bins=90)),
}


@pytest.mark.parametrize("what", PAIRS)
@pytest.mark.parametrize("size", [size_of_evaluation, size_of_fit])
def test_programs_do_not_grow(size, what):
    small, large = PAIRS[what]
    assert size(small) == size(large)
    assert size(small) > 1000


def test_the_evaluation_is_one_program_for_3_channels_and_for_50():
    small, large = sized(3, 2, 3, bins=24), sized(50, 2, 3, bins=24)
    assert size_of_evaluation(small) == size_of_evaluation(large)
    # The solver of very many parameters does more, but not more for each of them.
    assert size_of_fit(large) < 1.5 * size_of_fit(small)
