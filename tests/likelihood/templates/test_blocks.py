"""Which bins of a template fit are worked on together, and what that costs."""

import collections
import functools as ft
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.engine import programs
from everwillow.engine.adjoint import minimise_plain
from everwillow.fitting.run import prepare_task, resolve
from everwillow.likelihood.histograms import Axis, Channel, Layout
from everwillow.likelihood.templates.blocks import BlockResponses
from everwillow.likelihood.templates.dense import DenseResponses
from everwillow.likelihood.templates.lists import ListedResponses
from everwillow.likelihood.templates.partition import (
    best_partition,
    partition_by_runs,
    runs,
    size_classes,
    work,
)
from everwillow.likelihood.templates.spec import (
    Responses,
    Systematic,
    Templates,
    TemplateSpec,
)
from everwillow.models.templates import TemplateModel


@ft.cache
def spec_of(channels, width, own, common, *, density=1.0, sparse=False):
    """Two processes in equal channels, with systematics of one and of all of them."""
    rng = np.random.default_rng(5)
    axis = Axis("x", tuple(np.arange(width + 1.0).tolist()))
    layout = Layout(
        tuple(Channel(f"c{i}", (axis,)) for i in range(channels)), ("signal", "rest")
    )
    bin_, process = np.divmod(np.arange(2 * width * channels), 2)
    nominal = rng.uniform(20, 90, bin_.size)
    rows = [
        np.flatnonzero(bin_ // width == i) for i in range(channels) for _ in range(own)
    ]
    rows += [np.arange(bin_.size)] * common
    rows = [row[rng.random(row.size) < density] for row in rows]
    start = np.cumsum([0, *(row.size for row in rows)])
    return TemplateSpec(
        layout=layout,
        signals=("signal",),
        templates=Templates(bin_, process, nominal, 0.1 * nominal),
        systematics=tuple(Systematic(f"s{i}") for i in range(len(rows))),
        responses=Responses(
            start, np.concatenate(rows), rng.normal(0, 0.05, int(start[-1]))
        ),
        systematic_type="log_normal",
        observed=rng.poisson(np.bincount(bin_, nominal)).astype(float),
        sparse=sparse,
    )


def pairs(total):
    """Return entries of forty systematics that act on two runs of bins each."""
    rng = np.random.default_rng(3)
    systematic = np.repeat(np.arange(40), 6)
    first = rng.integers(0, total - 3, (40, 2))
    return (first[..., None] + np.arange(3)).ravel(), systematic


@pytest.mark.parametrize("length", [1, 4, 100])
def test_blocks_have_every_bin_once_and_every_effect(length):
    total, count = 50, 40
    bin_, systematic = pairs(total)
    edges = runs(np.array([0, 7, 30, total]), length)
    found = partition_by_runs(bin_, systematic, edges, count=count, slots=2)
    assert len(found.classes) <= 3
    seen, known = [], set()
    for part in found.classes:
        for b, w in zip(part.bins, part.which, strict=True):
            bins, which = b[b < total], w[w < count]
            seen.append(bins)
            known |= {(b, s) for b in bins for s in which}
            # Nothing else than what acts on one of its bins.
            acting = set(systematic[np.isin(bin_, bins)])
            assert set(which) == acting
            assert np.all(np.diff(which) > 0)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(total))
    assert known >= set(zip(bin_, systematic, strict=True))


def test_classes_cost_less_than_one_size():
    systematics = np.array([3, 50, 4, 3, 2, 200])
    bins = np.array([10, 20, 10, 30, 10, 100])
    found = size_classes(systematics, bins, slots=3)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(6))
    assert 1 < len(found) <= 3

    def cost(part):
        most, widest = systematics[part].max(), bins[part].max()
        return part.size * work(int(most), int(widest), 3)

    assert sum(map(cost, found)) < 0.5 * cost(np.arange(6))
    assert len(size_classes(np.full(9, 5), np.full(9, 10), slots=3)) == 1


def test_runs_end_with_their_channel():
    cut = runs(np.array([0, 5, 7]), 3)
    np.testing.assert_array_equal(cut, [0, 3, 5, 7])


def test_a_systematic_of_each_bin_cuts_a_channel():
    """As the extra axes of a systematic make them."""
    total = 512
    bin_ = np.concatenate([np.arange(total), np.repeat(np.arange(total), 3)])
    systematic = np.concatenate(
        [np.arange(total), total + np.tile(np.arange(3), total)]
    )
    edges = np.array([0, total])
    found = best_partition(bin_, systematic, edges, count=total + 3, slots=1)
    assert max(part.bins.shape[1] for part in found.classes) <= 16
    assert found.work < 0.01 * work(total + 3, total, 1)


def test_the_layout_follows_from_the_effects():
    def kept(spec, **options):
        return TemplateModel.from_spec(spec, **options).terms.arrays.responses

    local, common = spec_of(6, 40, 30, 20), spec_of(6, 40, 0, 200)
    assert isinstance(kept(local), BlockResponses)
    assert isinstance(kept(common), DenseResponses)
    assert isinstance(kept(spec_of(6, 40, 30, 20, sparse=True)), ListedResponses)
    # One matrix is quick enough where there is little.
    assert isinstance(kept(spec_of(6, 4, 3, 2)), DenseResponses)
    # A covariance of the data couples what blocks would take apart.
    assert isinstance(kept(local, likelihood="covariance"), DenseResponses)
    held = sum(part.average.size for part in kept(local).classes)
    # Fifty of two hundred systematics in each channel.
    assert held == 50 * 6 * 40 * 2


def test_a_channel_more_is_no_operation_more():
    few, many = (operations(spec_of(number, 200, 20, 2)) for number in (6, 30))
    assert few == many


def operations(spec):
    model = TemplateModel.from_spec(spec)
    assert isinstance(model.terms.arrays.responses, BlockResponses)
    main = model.observation["main"]
    found = jax.make_jaxpr(
        lambda v: model.terms.evaluation(v, main).curvature.as_matrix()
    )(jnp.zeros(model.terms.size))
    return str(found).count(" = ")


@pytest.mark.slow
def test_a_list_of_more_than_a_thousand_parameters_has_a_covariance():
    listed = TemplateModel.from_spec(spec_of(60, 2, 17, 5, sparse=True))
    blocks = TemplateModel.from_spec(spec_of(60, 2, 17, 5))
    one, other = ew.fit(listed), ew.fit(blocks)
    assert listed.terms.matrix_free
    assert not blocks.terms.matrix_free
    assert len(one.labels) > 1000
    assert one.covariance is not None
    # Conjugate gradients stop short of the minimum, where errors are the same still.
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-5)


@pytest.mark.slow
def test_compiling_takes_as_long_for_many_free_parameters_as_for_few():
    (few, small), (many, large) = (compiled(n) for n in (1200, 20_000))
    # Up to a thousand parameters there is a covariance, and more to compile.
    assert small == large
    # CPU time, which other work on the machine disturbs less.
    assert many < 2 * few


def compiled(bins):
    """Return how long the program of a fit takes to make, and its operations."""
    spec = spec_of(bins // 20, 20, 1, 10, density=0.5, sparse=True)
    model = TemplateModel.from_spec(spec, profile=False)
    task, numbers = prepare_task(resolve(model))
    arrays, static = programs.split((task, numbers))
    start = time.process_time()
    program = programs._compiled(minimise_plain, programs.COMPILER_OPTIONS).lower(
        static, arrays
    )
    text = program.as_text()
    program.compile()
    taken = time.process_time() - start
    names = re.findall(r"stablehlo\.(\w+)", text)
    kinds = collections.Counter(names)
    # Constants are shared by chance.
    kinds.pop("constant")
    return taken, kinds
