"""Ways in which a likelihood holds numbers that are no arguments of it."""

import functools as ft
import types

import jax
import jax.numpy as jnp
import numpy as np


DATA = np.ones(3)
BOX = {"data": np.ones(3)}
SPACE = types.SimpleNamespace(data=np.ones(3))


def _inner(p):
    return 0.5 * jnp.sum((DATA - p["m"]) ** 2)


def reads_global(p, _):
    return 0.5 * jnp.sum((DATA - p["m"]) ** 2)


def reads_through_helper(p, _):
    return _inner(p)


@jax.jit
def reads_in_jit(p, _):
    return _inner(p)


def _step(total, one):
    return total + 0.5 * (DATA[0] - one) ** 2, None


def reads_in_loop(p, _):
    return jax.lax.scan(_step, 0.0 * p["m"], jnp.stack([p["m"]] * 3))[0]


class Holder:
    """Holds data in an attribute, and results that no likelihood reads."""

    def __init__(self, data):
        self.data, self.result = data, None

    def nll(self, p, _):
        return 0.5 * jnp.sum((self.data - p["m"]) ** 2)

    __call__ = nll


class Config:
    """Holds data as a class."""

    data = np.ones(3)


def _bind(name, value):
    globals()[name] = value


def _of(get):
    return lambda p, _: 0.5 * jnp.sum((get() - p["m"]) ** 2)


def kinds():
    """Return for each kind: likelihood, how to read its data, how to bind others."""
    return {**_variables(), **_containers(), **_objects(), "partial": _partial()}


def _variables():
    default, held = np.ones(3), np.ones(3)

    def of_global(fn):
        return fn, lambda: DATA, ft.partial(_bind, "DATA")

    def with_default(p, _, data=default):
        return 0.5 * jnp.sum((data - p["m"]) ** 2)

    def in_cell(p, _):
        return 0.5 * jnp.sum((held - p["m"]) ** 2)

    def bind_cell(value):
        nonlocal held
        held = value

    return {
        "global": of_global(reads_global),
        "helper": of_global(reads_through_helper),
        "jit": of_global(reads_in_jit),
        "loop": of_global(reads_in_loop),
        "cell": (in_cell, lambda: held, bind_cell),
        "default": (
            with_default,
            lambda: with_default.__defaults__[0],
            lambda value: setattr(with_default, "__defaults__", (value,)),
        ),
    }


def _partial():
    def given(data, p, _):
        return 0.5 * jnp.sum((data - p["m"]) ** 2)

    bound = ft.partial(given, np.ones(3))
    return bound, lambda: bound.args[0], None


def _containers():
    cell = [np.ones(3)]
    return {
        "list": (
            _of(lambda: cell[0]),
            lambda: cell[0],
            lambda value: cell.__setitem__(0, value),
        ),
        "dict": (
            _of(lambda: BOX["data"]),
            lambda: BOX["data"],
            lambda value: BOX.__setitem__("data", value),
        ),
        "namespace": (
            _of(lambda: SPACE.data),
            lambda: SPACE.data,
            lambda value: setattr(SPACE, "data", value),
        ),
    }


def _objects():
    holder = Holder(np.ones(3))

    def read():
        return holder.data

    def bind(value):
        holder.data = value

    return {
        "class": (
            _of(lambda: Config.data),
            lambda: Config.data,
            lambda value: setattr(Config, "data", value),
        ),
        "getattr": (
            _of(lambda: getattr(holder, "data")),  # noqa: B009
            read,
            bind,
        ),
        "method": (holder.nll, read, bind),
        "callable": (holder, read, bind),
    }


NAMES = tuple(kinds())
