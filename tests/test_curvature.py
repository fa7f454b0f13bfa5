"""Every form of a curvature does what its dense matrix does."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow._errors import ArgumentTypeError, EverwillowError
from everwillow.curvature import (
    AbstractCurvature,
    Arrow,
    Dense,
    Operator,
    block_diagonal,
    gather_transpose,
)


def spd(rng, size):
    root = rng.normal(size=(size, size))
    return root @ root.T + np.eye(size)


def arrow_of(matrix, block_index, tail_index):
    """Read an arrow out of a matrix, which must have that form."""
    top, low = block_index, tail_index
    return Arrow(
        jnp.asarray(matrix[np.ix_(top, top)]),
        jnp.asarray(matrix[np.ix_(top, low)]),
        jnp.asarray(matrix[low, low]),
        top,
        low,
    )


def arrow_matrix(rng, block, tail):
    """A definite matrix of arrow form in a mixed order, and where its parts are."""
    size = block + tail
    order = rng.permutation(size)
    top, low = order[:block], order[block:]
    matrix = np.zeros((size, size))
    coupling = rng.normal(size=(block, tail))
    diagonal = rng.uniform(0.5, 3.0, tail)
    # What elimination of the tail leaves of the block is definite, hence all is.
    matrix[np.ix_(top, top)] = spd(rng, block) + coupling / diagonal @ coupling.T
    matrix[np.ix_(top, low)] = coupling
    matrix[np.ix_(low, top)] = coupling.T
    matrix[low, low] = diagonal
    return matrix, top, low


def dense(size):
    def make(rng):
        matrix = spd(rng, size)
        return Dense(jnp.asarray(matrix)), matrix

    return make


def arrow(block, tail):
    def make(rng):
        matrix, top, low = arrow_matrix(rng, block, tail)
        return arrow_of(matrix, top, low), matrix

    return make


def operator(size):
    def make(rng):
        matrix = spd(rng, size)
        held = jnp.asarray(matrix)
        # The diagonal of an operator may be approximate; here it is exact.
        return Operator(lambda v: held @ v, jnp.diagonal(held)), matrix

    return make


def written_operator(size):
    def make(rng):
        curvature, matrix = operator(size)(rng)
        entries = lambda: jnp.asarray(matrix)
        return dataclasses.replace(curvature, entries=entries), matrix

    return make


@dataclasses.dataclass(frozen=True)
class Form:
    make: Callable[[np.random.Generator], tuple[AbstractCurvature, np.ndarray]]
    factors: bool = True


# Sizes on both sides of the one from which LAPACK does the factorising.
FORMS = {
    "one number": Form(dense(1)),
    "dense": Form(dense(6)),
    "dense by LAPACK": Form(dense(20)),
    "arrow": Form(arrow(3, 5)),
    "arrow without tail": Form(arrow(4, 0)),
    "operator": Form(operator(6), factors=False),
    "operator with entries": Form(written_operator(6), factors=False),
}
SEEDS = (0,)
all_forms = pytest.mark.parametrize("name", FORMS)
forms_that_factor = pytest.mark.parametrize(
    "name", [name for name, form in FORMS.items() if form.factors]
)
seeds = pytest.mark.parametrize("seed", SEEDS)


def case(name, seed):
    rng = np.random.default_rng(seed)
    curvature, matrix = FORMS[name].make(rng)
    return rng, curvature, matrix


def assert_is(curvature, matrix):
    """A curvature is a matrix if its entries, products and diagonal are."""
    size = len(matrix)
    vector = np.random.default_rng(99).normal(size=size)
    atol = 1e-12 * (1 + np.max(np.abs(matrix), initial=0))
    np.testing.assert_allclose(curvature.as_matrix(), matrix, atol=atol)
    product = curvature.matvec(jnp.asarray(vector))
    np.testing.assert_allclose(product, matrix @ vector, atol=size * atol)
    np.testing.assert_allclose(curvature.diagonal(), np.diagonal(matrix), atol=atol)


@all_forms
@seeds
def test_the_entries_products_and_diagonal_agree(name, seed):
    _, curvature, matrix = case(name, seed)
    assert_is(curvature, matrix)


@all_forms
@seeds
def test_scaling_scales_rows_and_columns(name, seed):
    rng, curvature, matrix = case(name, seed)
    scale = rng.uniform(-2.0, 2.0, len(matrix))
    scaled = curvature.scaled(jnp.asarray(scale))
    assert type(scaled) is type(curvature)
    assert_is(scaled, np.diag(scale) @ matrix @ np.diag(scale))


@all_forms
@seeds
def test_a_diagonal_is_added(name, seed):
    rng, curvature, matrix = case(name, seed)
    values = rng.normal(size=len(matrix))
    more = curvature.plus_diagonal(jnp.asarray(values))
    assert type(more) is type(curvature)
    assert_is(more, matrix + np.diag(values))


@all_forms
@seeds
def test_a_mask_leaves_the_identity_where_nothing_is_kept(name, seed):
    rng, curvature, matrix = case(name, seed)
    keep = rng.random(len(matrix)) < 0.6
    masked = curvature.masked(jnp.asarray(keep))
    assert type(masked) is type(curvature)
    assert_is(masked, np.where(np.outer(keep, keep), matrix, np.eye(len(matrix))))


@pytest.mark.parametrize("name", ["dense", "arrow"])
def test_a_mask_keeps_nan_out(name):
    _, curvature, matrix = case(name, 0)
    spoiled = np.arange(len(matrix)) == 2
    broken = curvature.plus_diagonal(jnp.where(spoiled, jnp.nan, 0.0))
    masked = broken.masked(jnp.asarray(~spoiled))
    keep = np.outer(~spoiled, ~spoiled)
    assert_is(masked, np.where(keep, matrix, np.eye(len(matrix))))


@forms_that_factor
@seeds
def test_a_factor_solves(name, seed):
    rng, curvature, matrix = case(name, seed)
    rhs = rng.normal(size=len(matrix))
    factor = curvature.factor()
    wanted = np.linalg.solve(matrix, rhs)
    # The solution may be wrong by rounding times the condition number, not by more.
    atol = 1e-14 * np.linalg.cond(matrix) * np.max(np.abs(wanted))
    np.testing.assert_allclose(factor.solve(jnp.asarray(rhs)), wanted, atol=atol)
    assert 0 < factor.smallest_pivot <= 1


@forms_that_factor
def test_a_factor_is_the_same_when_compiled(name):
    rng, curvature, matrix = case(name, 0)
    rhs = jnp.asarray(rng.normal(size=len(matrix)))

    def solve(curvature, rhs):
        factor = curvature.factor()
        return factor.solve(rhs), factor.smallest_pivot

    eager, compiled = solve(curvature, rhs), jax.jit(solve)(curvature, rhs)
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(compiled[1], eager[1], rtol=1e-9)


@forms_that_factor
@pytest.mark.parametrize("shift", ["below the least eigenvalue", "far below"])
def test_the_pivot_of_an_indefinite_matrix_is_not_positive(name, shift):
    _, curvature, matrix = case(name, 0)
    least = np.linalg.eigvalsh(matrix)[0]
    down = 1.01 * least if shift == "below the least eigenvalue" else 1e3 * least
    indefinite = curvature.plus_diagonal(jnp.full(len(matrix), -down))
    # NaN is an allowed way of saying no.
    assert not indefinite.factor().smallest_pivot > 0


@forms_that_factor
def test_the_pivot_is_positive_just_above_singular(name):
    _, curvature, matrix = case(name, 0)
    least = np.linalg.eigvalsh(matrix)[0]
    definite = curvature.plus_diagonal(jnp.full(len(matrix), -0.99 * least))
    assert 0 < definite.factor().smallest_pivot <= 1


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.999])
def test_the_pivot_of_two_correlated_parameters(correlation):
    # One minus the square of the correlation is left of the second parameter.
    matrix = np.array([[4.0, 6.0 * correlation], [6.0 * correlation, 9.0]])
    wanted = 1 - correlation**2
    first, second = np.array([0]), np.array([1])
    for curvature in (Dense(jnp.asarray(matrix)), arrow_of(matrix, first, second)):
        np.testing.assert_allclose(curvature.factor().smallest_pivot, wanted)


@pytest.mark.parametrize("size", [4, 20])
def test_a_nan_is_no_positive_pivot(size):
    for row, column in ((0, 0), (size - 1, 0), (size - 1, size - 1)):
        matrix = np.eye(size)
        matrix[row, column] = matrix[column, row] = np.nan
        assert not Dense(jnp.asarray(matrix)).factor().smallest_pivot > 0


@pytest.mark.parametrize("part", ["block", "coupling", "tail"])
def test_a_nan_in_an_arrow_is_no_positive_pivot(part):
    _, curvature, _ = case("arrow", 0)
    parts = {"block": (1, 1), "coupling": (1, 2), "tail": (3,)}
    leaf = getattr(curvature, part).at[parts[part]].set(jnp.nan)
    broken = dataclasses.replace(curvature, **{part: leaf})
    assert not broken.factor().smallest_pivot > 0


def test_an_arrow_without_a_block_is_a_diagonal():
    nobody, all_ = np.zeros(0, int), np.arange(3)
    tail = np.array([1.0, 2.0, 4.0])
    diagonal = arrow_of(np.diag(tail), nobody, all_)
    assert_is(diagonal, np.diag(tail))
    factor = diagonal.factor()
    assert factor.smallest_pivot == 1
    np.testing.assert_array_equal(factor.solve(jnp.ones(3)), 1 / tail)


def test_an_operator_refuses_to_be_factorised():
    _, curvature, _ = case("operator", 0)
    with pytest.raises(ArgumentTypeError, match=r"(?s)Operator.*NewtonCG\(\)") as error:
        curvature.factor()
    assert isinstance(error.value, EverwillowError)
    assert isinstance(error.value, TypeError)


# Each index leads from the long vector (as long as the curvature) to the short one.
GATHERS = {
    "arrow in another order": ("arrow", [3, 1, 0, 7, 2, 6, 5, 4], 8),
    "arrow with everything shared": ("arrow", [0, 0, 0, 0, 0, 0, 0, 0], 1),
    "arrow with pairs": ("arrow", [0, 1, 2, 3, 3, 2, 1, 0], 4),
    "arrow with one pair": ("arrow", [0, 1, 2, 3, 4, 5, 6, 0], 7),
    "dense with pairs": ("dense", [0, 1, 1, 3, 2, 0], 4),
    "dense in a longer vector": ("dense", [5, 1, 4, 3, 2, 0], 9),
    "operator with pairs": ("operator", [0, 1, 1, 3, 2, 0], 4),
}


@pytest.mark.parametrize("gather", GATHERS)
@seeds
def test_a_gather_adds_what_is_shared(gather, seed):
    name, index, size = GATHERS[gather]
    _, curvature, matrix = case(name, seed)
    index = np.array(index)
    spread = np.zeros((len(index), size))
    spread[np.arange(len(index)), index] = 1
    short = gather_transpose(curvature, index, size)
    assert type(short) is type(curvature)
    wanted = spread.T @ matrix @ spread
    if name != "operator":
        assert_is(short, wanted)
        return
    # The diagonal of an operator leaves out what sharing adds to it.
    np.testing.assert_allclose(short.as_matrix(), wanted, atol=1e-12)
    np.testing.assert_allclose(short.diagonal(), spread.T @ np.diagonal(matrix))


def test_an_arrow_in_a_longer_vector_has_zeros_elsewhere():
    _, curvature, matrix = case("arrow", 0)
    index = np.array([9, 1, 0, 7, 2, 6, 5, 4])
    wanted = np.zeros((11, 11))
    wanted[np.ix_(index, index)] = matrix
    assert_is(gather_transpose(curvature, index, 11), wanted)


def test_a_gather_that_changes_nothing_returns_the_same():
    _, curvature, matrix = case("arrow", 0)
    assert gather_transpose(curvature, np.arange(len(matrix)), 8) is curvature


def simple_arrow():
    """Two parameters of the block first, three of the tail behind them."""
    matrix = np.diag([5.0, 6.0, 1.0, 2.0, 3.0])
    matrix[:2, 2:] = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    matrix[2:, :2] = matrix[:2, 2:].T
    return arrow_of(matrix, np.arange(2), np.arange(2, 5)), matrix


@pytest.mark.parametrize(
    ("index", "size", "block", "tail"),
    [
        pytest.param([1, 0, 2, 3, 4], 5, {0, 1}, {2, 3, 4}, id="none is shared"),
        pytest.param([0, 0, 1, 2, 3], 4, {0}, {1, 2, 3}, id="within the block"),
        pytest.param([0, 1, 2, 2, 3], 4, {0, 1, 2}, {3}, id="within the tail"),
        pytest.param([0, 1, 0, 2, 3], 4, {0, 1}, {2, 3}, id="tail with block"),
    ],
)
def test_a_tail_entry_that_is_shared_moves_to_the_block(index, size, block, tail):
    curvature, _ = simple_arrow()
    short = gather_transpose(curvature, np.array(index), size)
    assert isinstance(short, Arrow)
    assert set(np.asarray(short.block_index).tolist()) == block
    assert set(np.asarray(short.tail_index).tolist()) == tail


def test_a_tail_parameter_that_is_a_block_parameter_counts_its_coupling_twice():
    # f(θ, γ) = ½aθ² + bθγ + ½dγ² with γ = θ has the second derivative a + 2b + d.
    one = Arrow(
        jnp.array([[3.0]]),
        jnp.array([[0.25]]),
        jnp.array([2.0]),
        np.array([0]),
        np.array([1]),
    )
    short = gather_transpose(one, np.array([0, 0]), 1)
    np.testing.assert_array_equal(short.as_matrix(), [[5.5]])


def test_a_gather_of_traced_indices_says_what_to_do():
    curvature, _ = simple_arrow()

    @jax.jit
    def gather(curvature):
        return gather_transpose(curvature, np.array([1, 0, 2, 3, 4]), 5).as_matrix()

    with pytest.raises(ArgumentTypeError, match="numpy"):
        gather(curvature)


def test_a_gathered_arrow_can_be_combined_again_while_tracing():
    held, matrix = simple_arrow()
    index = np.array([1, 0, 2, 3, 4])

    @jax.jit
    def nested(block, coupling, tail):
        one = Arrow(block, coupling, tail, held.block_index, held.tail_index)
        inner = gather_transpose(one, index, 5)
        return block_diagonal([inner, Dense(block)]).as_matrix()

    spread = np.eye(5)[index]
    wanted = np.zeros((7, 7))
    wanted[:5, :5] = spread.T @ matrix @ spread
    wanted[5:, 5:] = matrix[:2, :2]
    np.testing.assert_allclose(nested(held.block, held.coupling, held.tail), wanted)


MIXES = {
    "dense": (["dense", "one number"], Dense),
    "arrows": (["arrow", "arrow"], Arrow),
    "arrow and dense": (["dense", "arrow", "one number"], Arrow),
    "one arrow": (["arrow"], Arrow),
    "operator and the rest": (["arrow", "operator", "dense"], Operator),
    "entries and the rest": (["arrow", "operator with entries"], Operator),
}


@pytest.mark.parametrize("mix", MIXES)
@seeds
def test_blocks_side_by_side(mix, seed):
    names, kind = MIXES[mix]
    parts = [case(name, seed + i)[1:] for i, name in enumerate(names)]
    total = sum(len(matrix) for _, matrix in parts)
    wanted, start = np.zeros((total, total)), 0
    for _, matrix in parts:
        stop = start + len(matrix)
        wanted[start:stop, start:stop] = matrix
        start = stop
    joined = block_diagonal([curvature for curvature, _ in parts])
    assert isinstance(joined, kind)
    assert_is(joined, wanted)
