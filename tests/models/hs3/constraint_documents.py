"""Random small HS3 documents in which constraints are written in all ways and places.

The likelihood is a density of events or a histfactory channel, or both, of a rate that
depends on `mu` and on what the constraints are about: `a` and `b` (Gaussian, alone or
together), `g` (Poisson) and `k` (log-normal).
"""

import math

import numpy as np
import scipy.stats

from tests.models.hs3.documents import MU, channel, document, modifier, sample


RATE = "(10 * mu + 50 * (1 + 0.2 * a) * (1 - 0.1 * b) * g * k)"
EVENTS = 70
COUNTS = 58.0
START = {"mu": 1.0, "a": 0.1, "b": -0.2, "g": 1.05, "k": 0.9}


class Writer:
    """Writes one document, and knows what its constraints are."""

    def __init__(self, rng):
        self.rng = rng
        self.functions, self.distributions, self.globs = [], [], {}
        self.points = dict(START)
        self.truth = {}  # by parameters: the density of (values, auxiliary data)

    def choose(self, *options):
        return options[self.rng.integers(len(options))]

    def function(self, expression=None, **entries):
        name = f"f{len(self.functions)}"
        if expression is not None:
            entries = {"type": "generic_function", "expression": expression}
        self.functions.append({"name": name} | entries)
        return name

    def constant(self, value):
        """A number: itself, a constant of the points, or an expression of one."""
        way = self.choose("number", "point", "expression", "product")
        if way == "number":
            return value
        name = f"c{len(self.points)}"
        self.points[name] = (value,)
        if way == "expression":
            return self.function(f"sqrt({name}^2) * {math.copysign(1.0, value)} + 0")
        if way == "product":
            return self.function(type="product", factors=[name, 1.0])
        return name

    def datum(self, value):
        """What was observed: a number, a constant, or a global observable."""
        way = self.choose("number", "constant", "global", "unused")
        if way == "number":
            return value
        name = f"nom{len(self.points)}"
        # The value of a data set of global observables outranks that of the points.
        given = value if way != "global" else value + 1.0
        self.points[name] = given if way == "unused" else (given,)
        if way == "global":
            self.globs[name] = value
        return name

    def parameter(self, name, value):
        """A parameter and its datum, perhaps both behind functions."""
        way = self.choose("plain", "plain", "same", "moved", "negative")
        if way == "same":
            return self.function(f"1 * {name}"), value
        if way == "moved":
            return self.function(type="sum", summands=[name, 0.25]), value + 0.25
        if way == "negative":
            return self.function(f"-{name}"), -value
        return name, value

    def pair(self, name, value):
        argument, value = self.parameter(name, value)
        pair = [argument, self.datum(value)]
        return pair if self.rng.random() < 0.5 else pair[::-1]

    def gauss(self, name):
        value, sigma = self.rng.normal(), self.rng.uniform(0.5, 2.0)
        x, mean = self.pair(name, value)
        kind = self.choose("gaussian_dist", "normal_dist")
        made = {"type": kind, "x": x, "mean": mean, "sigma": self.constant(sigma)}
        self.truth[(name,)] = (scipy.stats.norm(scale=sigma), [value])
        return self.add(f"gauss_{name}", made)

    def joint(self):
        names = self.rng.permutation(["a", "b"]).tolist()
        values, rho = self.rng.normal(size=2), self.rng.uniform(-0.9, 0.9)
        matrix = np.array([[1.5, rho], [rho, 0.8]])
        pairs = [[n, self.datum(v)] for n, v in zip(names, values, strict=True)]
        signs = np.ones(2)
        for i, pair in enumerate(pairs):
            if self.rng.random() < 0.5:
                pair.reverse()
                signs[i] = -1.0
        written = (matrix * np.outer(signs, signs)).tolist()
        x, mean = zip(*pairs, strict=True)
        made = {"type": "multivariate_normal_dist", "x": list(x), "mean": list(mean)}
        made["covariances"] = [[self.constant(c) for c in written[0]], written[1]]
        made["covariances"][0][1] = made["covariances"][1][0]
        density = scipy.stats.multivariate_normal(cov=matrix)
        self.truth[tuple(names)] = (density, values.tolist())
        return self.add("joint", made)

    def poisson(self):
        tau = float(self.rng.integers(20, 60))
        count = float(self.rng.poisson(tau))
        scale = self.constant(tau)
        mean = (
            self.function(type="product", factors=["g", scale])
            if self.rng.random() < 0.5
            else self.function(f"{scale!s} * 2 * g / 2")
        )
        self.truth[("g",)] = (tau, [count])
        made = {"type": "poisson_dist", "x": self.datum(count), "mean": mean}
        return self.add("count_g", made)

    def lognormal(self):
        sigma, value = self.rng.uniform(0.05, 0.3), self.rng.uniform(0.8, 1.2)
        self.truth[("k",)] = (sigma, [value])
        made = {"type": "lognormal_dist", "x": self.datum(value)}
        made |= {"mu": self.function("log(k)"), "sigma": self.constant(sigma)}
        return self.add("log_k", made)

    def add(self, name, made):
        self.distributions.append({"name": name} | made)
        return name

    def product(self, factors):
        """A product in any order, perhaps with other products inside."""
        factors = self.rng.permutation(factors).tolist()
        if len(factors) > 1 and self.rng.random() < 0.5:
            inner = self.add(
                f"inner{len(self.distributions)}",
                {"type": "product_dist", "factors": factors[1:]},
            )
            factors = [factors[0], inner]
        made = {"type": "product_dist", "factors": factors}
        return self.add(f"product{len(self.distributions)}", made)


def write(rng):
    """Return a document, what its constraints are, and which parts it has."""
    writer = Writer(rng)
    names = [writer.joint()] if rng.random() < 0.4 else []
    if not names:
        names = [writer.gauss(name) for name in "ab" if rng.random() < 0.7]
    names += [writer.poisson()] if rng.random() < 0.5 else []
    names += [writer.lognormal()] if rng.random() < 0.5 else []
    parts = writer.choose(("events",), ("bins",), ("events", "bins"))
    places = {name: set() for name in names}
    for name in names:
        possible = [*parts, "aux"]
        if "events" in parts:
            possible.append("inside")
        if "bins" in parts and name != "joint":
            possible.append("modifier")
        count = rng.integers(1, len(possible) + 1)
        places[name] = set(rng.choice(possible, count, replace=False).tolist())
    made = _document(writer, parts, places)
    return made, writer.truth, parts


def _document(writer, parts, places):
    def at(place):
        return [name for name, where in places.items() if place in where]

    rate = writer.function(RATE)
    main, data, channels = [], [], []
    if "events" in parts:
        writer.add("flat", {"type": "uniform_dist", "x": "x"})
        inside = ["flat", *at("inside")]
        dist = writer.product(inside) if len(inside) > 1 else "flat"
        extended = {"type": "rate_extended_dist", "rate": rate, "dist": dist}
        factors = [writer.add("sb", extended), *at("events")]
        main.append(writer.product(factors) if len(factors) > 1 else "sb")
        data.append("events")
    if "bins" in parts:
        channels.append(_channel(writer, at("modifier"), places))
        factors = ["SR", *at("bins")]
        main.append(writer.product(factors) if len(factors) > 1 else "SR")
        data.append("obs_SR")
    aux = writer.rng.permutation(at("aux")).tolist() if at("aux") else []
    if len(aux) > 1 and writer.rng.random() < 0.3:
        aux = [writer.product(aux)]
    order = writer.rng.permutation(len(main)).tolist()
    likelihood = {
        "distributions": [main[i] for i in order],
        "data": [data[i] for i in order],
        "aux_distributions": aux,
    }
    if writer.globs:
        likelihood["aux_data"] = ["globs"]
    made = document(
        *channels,
        observed={"SR": [COUNTS]},
        points=writer.points,
        ranges={"mu": (0, 20), "a": (-5, 5), "b": (-5, 5), "g": (0, 3), "k": (0, 3)},
        more=writer.distributions,
        functions=writer.functions,
        likelihood=likelihood,
    )
    writer.rng.shuffle(made["distributions"])
    axis = {"name": "x", "min": 0.0, "max": 1.0}
    entries = [[(i + 0.5) / EVENTS] for i in range(EVENTS)]
    made["data"] += [
        {"name": "events", "type": "unbinned", "entries": entries, "axes": [axis]},
        {
            "name": "globs",
            "type": "unbinned",
            "entries": [list(writer.globs.values())],
            "axes": [{"name": n, "min": -1e3, "max": 1e3} for n in writer.globs],
        },
    ]
    return made


def _channel(writer, named, places):
    """A channel; a type of constraint gives way to a distribution elsewhere."""
    effects = []
    for name, low, high in (("a", 0.8, 1.2), ("b", 1.1, 0.9)):
        own = next((one for one in named if one == f"gauss_{name}"), None)
        other = f"gauss_{name}" in places or "joint" in places
        word = own or writer.choose("None", *(("Gauss", "gauss") if other else ()))
        key = writer.choose("constraint", "constraint_name" if own else "constraint")
        entries = {"interpolation": "code0", "data": {"lo": low, "hi": high}}
        effects.append(modifier("normsys", name, **entries, **{key: word}))
    for name, distribution in (("g", "count_g"), ("k", "log_k")):
        word = distribution if distribution in named else "None"
        effects.append(modifier("normfactor", name, constraint=word))
    return channel(
        "SR", sample("signal", [10.0], MU), sample("background", [50.0], *effects)
    )


def main_nll(parts, p):
    """-ln L of the data without constraints, by hand."""
    rate = 10 * p["mu"]
    rate += 50 * (1 + 0.2 * p["a"]) * (1 - 0.1 * p["b"]) * p["g"] * p["k"]
    total = 0.0
    if "events" in parts:
        total += rate - EVENTS * math.log(rate)
    if "bins" in parts:
        total -= scipy.stats.poisson.logpmf(COUNTS, rate)
    return total


def constraint_nll(truth, p):
    """-ln L of the auxiliary measurements, each once."""
    total = 0.0
    for names, (density, aux) in truth.items():
        values = np.array([p[name] for name in names])
        if names == ("g",):
            total -= scipy.stats.poisson.logpmf(aux[0], density * p["g"])
        elif names == ("k",):
            total -= scipy.stats.lognorm.logpdf(aux[0], density, scale=p["k"])
        else:
            total -= np.sum(density.logpdf(np.array(aux) - values))
    return total
