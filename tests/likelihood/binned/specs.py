"""Descriptions of binned likelihoods to test the engine with, small but complete."""

import hypothesis.strategies as st
import numpy as np

from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    Derived,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
    ShapeVariation,
)


CODES = ("code0", "code1", "code2", "code4", "code4p")
UNIT = ConstraintSpec("normal", 0.0, 1.0)
SCALARS = {
    "mu": None,
    "k": None,
    "lumi": ConstraintSpec("normal", 1.0, 0.02),
    "scale": ConstraintSpec("lognormal", 1.1, 1.2),
    "tau": ConstraintSpec("poisson", 30.0, 25.0),
    "a0": UNIT,
    "a1": ConstraintSpec("normal", 0.3, 0.7),
    "a2": UNIT,
}


# At the level of the module: equal objects let equal structures share a program.
def product(a, b):
    return a * b


def polynomial(a, b):
    return 0.3 + a * a + 0.5 * b


DERIVED = {
    "d0": Derived(("mu", "k"), product),
    "d1": Derived(("d0", "a0"), polynomial),
}


def around(rng, centre, spread, shape=()):
    return centre * (1 + spread * rng.uniform(-1, 1, shape))


def norm(rng, name, code="code4", *, size=0.2):
    down, up = 1 - size * rng.uniform(0.1, 1), 1 + size * rng.uniform(0.1, 1)
    return NormVariation(name, float(down), float(up), code)


def shape(rng, name, nominal, code="code4p", *, size=0.2):
    down, up = (around(rng, nominal, size, nominal.shape) for _ in "du")
    return ShapeVariation(name, down, up, code)


def gammas(name, bins, kind="normal", rng=None):
    """Return an array parameter with a constraint of its own on each element."""
    rng = rng or np.random.default_rng(len(name) + bins)
    width = rng.uniform(0.05, 0.3, bins)
    aux, width = {
        "normal": (np.ones(bins), width),
        "poisson": (1 / width**2, 1 / width**2),
        "lognormal": (np.ones(bins), 1 + width),
        "free": (None, None),
    }[kind]
    constraint = None if aux is None else ConstraintSpec(kind, aux, width)
    return ParameterSpec(name, np.ones(bins), 1e-6, 10.0, constraint=constraint)


def scalars():
    return tuple(
        ParameterSpec(name, 1.0 if c is None or c.aux > 0.5 else 0.0, constraint=c)
        for name, c in SCALARS.items()
    )


def everything(seed=0):
    """Every kind of effect and parameter at once, in channels of different lengths."""
    rng = np.random.default_rng(seed)
    first, second, third = np.array([3.0, 0.0, 1.5]), rng.uniform(20, 50, 3), 9.0
    one = (
        SampleSpec("signal", first, (Scale("mu"), Scale("lumi"), norm(rng, "a0"))),
        SampleSpec(
            "top",
            second,
            (
                Scale("lumi"),
                # The same parameter twice as a factor, and once in the shape.
                norm(rng, "a1", "code4"),
                norm(rng, "a1", "code1"),
                shape(rng, "a1", second, "code4p"),
                shape(rng, "a2", second, "code2"),
                BinScale("stat_A"),
                BinScale("rate_A"),
            ),
        ),
        SampleSpec(
            "fakes",
            np.array([2.0, 0.0, 4.0]),
            (BinScale("stat_A"), Scale("scale"), Scale("k"), Scale("k")),
        ),
    )
    wide = rng.uniform(50, 90, 5)
    two = (
        SampleSpec("signal", 0.1 * wide, (Scale("d1"), norm(rng, "a2", "code2"))),
        SampleSpec(
            "top",
            wide,
            (
                BinScale(("g0", "g1", "g2", "g3", "g4")),
                shape(rng, "a0", wide, "code4"),
                shape(rng, "a2", wide, "code1"),
                norm(rng, "a1", "code0"),
                norm(rng, "a2", "code4p"),
            ),
        ),
    )
    three = (
        SampleSpec("top", np.array([third]), (BinScale("one_C"), Scale("tau"))),
        SampleSpec("other", np.array([40.0]), (Scale("rate_A[1]"), Scale("d0"))),
    )
    channels = (
        ChannelSpec("A", np.array([25.0, 0.0, 40.0]), one),
        ChannelSpec("B", np.array([61.0, 80.0, 75.0, 70.0, 66.5]), two),
        ChannelSpec("C", np.array([51.0]), three),
    )
    gs = tuple(
        ParameterSpec(f"g{i}", 1.0, constraint=ConstraintSpec("normal", 1.0, 0.1))
        for i in range(5)
    )
    parameters = (
        *scalars(),
        gammas("stat_A", 3),
        gammas("rate_A", 3, "poisson"),
        gammas("one_C", 1, "lognormal"),
        *gs,
        ParameterSpec("unused", 0.7),
    )
    return BinnedSpec(channels, parameters, DERIVED, poi="mu")


def barlow_beeston(bins=40, channels=2, samples=2, seed=1, code="code4p"):
    """Channels with a gamma in each bin and nothing else unusual: a pure tail."""
    rng = np.random.default_rng(seed)
    made, parameters = [], [*scalars()]
    for c in range(channels):
        parts = []
        for s in range(samples):
            nominal = rng.uniform(5, 30, bins)
            effects = [BinScale(f"stat_{c}"), norm(rng, "a0"), norm(rng, "a1")]
            effects += [shape(rng, "a2", nominal, code)]
            effects += [Scale("mu")] if s == 0 else []
            parts.append(SampleSpec(f"s{s}", nominal, tuple(effects)))
        observed = rng.poisson(sum(p.nominal for p in parts)).astype(float)
        made.append(ChannelSpec(f"c{c}", observed, tuple(parts)))
        parameters.append(gammas(f"stat_{c}", bins, "normal" if c else "poisson"))
    return BinnedSpec(tuple(made), tuple(parameters), poi="mu")


def sized(channels, samples, effects, bins=3):
    """Return a likelihood whose parameters grow with its number of effects only."""
    rng = np.random.default_rng(0)
    parameters = [ParameterSpec("mu", 1.0, 0.0, 10.0)]
    parameters += [
        ParameterSpec(f"{kind}{e}", 0.0, constraint=UNIT)
        for e in range(effects)
        for kind in "ns"
    ]
    made = []
    for c in range(channels):
        parameters.append(gammas(f"stat{c}", bins))
        parts = []
        for s in range(samples):
            nominal = rng.uniform(10, 20, bins)
            acting = [Scale("mu")] if s == 0 else []
            acting += [norm(rng, f"n{e}") for e in range(effects)]
            acting += [shape(rng, f"s{e}", nominal, size=0.1) for e in range(effects)]
            parts.append(SampleSpec(f"s{s}", nominal, (*acting, BinScale(f"stat{c}"))))
        observed = sum(p.nominal for p in parts)
        made.append(ChannelSpec(f"c{c}", np.round(observed), tuple(parts)))
    return BinnedSpec(tuple(made), tuple(parameters), poi="mu")


@st.composite
def effects(draw, rng, channel, bins, nominal):
    kind = draw(st.sampled_from(["scale", "norm", "shape", "gamma", "stat"]))
    # Two parameters more often than the others, so that they meet on one sample.
    name = draw(st.sampled_from(["a0", "a0", "a1", "a2"]))
    code = draw(st.sampled_from(CODES))
    if kind == "scale":
        names = [*SCALARS, *DERIVED, f"stat_{channel}[0]", f"g_{channel}_0"]
        return Scale(draw(st.sampled_from([n for n in names if n[0] != "a"])))
    if kind == "norm":
        return norm(rng, name, code)
    if kind == "shape":
        return shape(rng, name, nominal, code)
    if kind == "stat":
        return BinScale(f"stat_{channel}")
    spelled = tuple(f"g_{channel}_{b}" for b in range(bins))
    options = [spelled, f"rate_{channel}", f"shared_{bins}"]
    options += [tuple(f"stat_{channel}[{b}]" for b in reversed(range(bins)))]
    options += [("mu",) * bins]
    return BinScale(draw(st.sampled_from(options)))


@st.composite
def binned_specs(draw):
    """Any small likelihood: shared, repeated, derived, empty, in every order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    made, parameters = [], [*scalars()]
    lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    for c, bins in enumerate(lengths):
        parts = []
        for s in range(draw(st.integers(1, 3))):
            empty = rng.random(bins) < 0.15
            nominal = np.where(empty, 0.0, rng.uniform(2, 30, bins))
            acting = draw(st.lists(effects(rng, c, bins, nominal), max_size=5))
            parts.append(SampleSpec(f"s{s}", nominal, tuple(acting)))
        observed = rng.poisson(sum(p.nominal for p in parts)).astype(float)
        made.append(ChannelSpec(f"c{c}", observed, tuple(parts)))
        parameters += [gammas(f"stat_{c}", bins), gammas(f"rate_{c}", bins, "poisson")]
        parameters += [
            ParameterSpec(
                f"g_{c}_{b}", 1.0, constraint=ConstraintSpec("normal", 1, 0.1)
            )
            for b in range(bins)
        ]
    parameters += [gammas(f"shared_{n}", n, "free") for n in sorted(set(lengths))]
    return BinnedSpec(tuple(made), tuple(parameters), DERIVED, poi="mu")


def point(spec, seed, *, zero=None):
    """Return a point in the order of the vector, off the kinks of interpolations.

    Args:
        spec: The likelihood.
        seed: Of the numbers.
        zero: Name of a scalar parameter that is exactly 0.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for entry in sorted(spec.parameters, key=lambda entry: entry.name):
        size = np.shape(entry.start)
        if entry.name[0] == "a":
            inner, outer = rng.uniform(0.1, 0.9), rng.uniform(1.1, 2.0)
            value = rng.choice([-1, 1]) * rng.choice([inner, outer])
        else:
            value = rng.uniform(0.6, 1.5, size)
        parts.append(np.ravel(0.0 if entry.name == zero else value))
    return np.concatenate(parts)
