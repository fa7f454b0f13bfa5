"""Ways in which a function of a user holds numbers that are no arguments of it.

Each entry of `HOLDERS` takes a *body*, a function of numbers and further arguments, and
returns a function of these further arguments that gets its numbers in one way, and a
function that puts other numbers there.
"""

import collections
import ctypes
import dataclasses
import enum
import functools as ft
import operator
import os
import sys
import threading
import types
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


NUMBERS = np.ones(3)
FLOATS = [1.0, 1.0, 1.0]
OFFSET = 1.0
BOX = {"inner": {"numbers": np.ones(3)}}
SPACE = types.SimpleNamespace(deep=types.SimpleNamespace(numbers=np.ones(3)))
MODULE = types.ModuleType("a_module_of_a_user")
MODULE.numbers = np.ones(3)
sys.modules[MODULE.__name__] = MODULE


def _read():
    return NUMBERS


def _read_indirectly():
    return 1.0 * _read()


class Holder:
    """Holds numbers in an attribute."""

    numbers_of_class = np.ones(3)

    def __init__(self, body):
        self.body, self.numbers, self.inside = body, np.ones(3), None

    def method(self, *args):
        return self.body(self.numbers, *args)

    __call__ = method

    def of_nested(self, *args):
        return self.body(self.inside.numbers, *args)

    def of_class(self, *args):
        return self.body(type(self).numbers_of_class, *args)

    @property
    def doubled(self):
        return 2.0 * self.numbers

    def of_property(self, *args):
        return self.body(0.5 * self.doubled, *args)


class Plain:
    """Holds numbers, and has no code that reads them."""

    def __init__(self):
        self.numbers = np.ones(3)


class Slotted:
    """Holds numbers in slots."""

    __slots__ = ("__private", "numbers")

    def __init__(self):
        self.numbers = self.__private = np.ones(3)

    def read(self):
        return self.__private


class Maker:
    """Reads a global variable where it is made."""

    def __init__(self):
        self.doubled = 2.0 * NUMBERS


class Dynamic:
    """Has attributes that nobody wrote down."""

    def __init__(self):
        self._table = {"numbers": np.ones(3)}

    def __getattr__(self, name):
        return self.__dict__["_table"][name]


class Meta(type):
    """Holds numbers for its classes."""

    numbers = np.ones(3)


class OfMeta(metaclass=Meta):
    """Reads numbers from its metaclass."""


class Options(enum.Enum):
    """Holds numbers as the value of a member."""

    numbers = np.ones(3)  # the kind under test


@dataclasses.dataclass
class Record:
    """Holds numbers in a field."""

    numbers: np.ndarray
    name: str = "record"


class Pair(NamedTuple):
    """Holds numbers in a named tuple."""

    name: str
    numbers: np.ndarray


class Module(eqx.Module):
    """Holds an array of NumPy in a Module."""

    numbers: np.ndarray
    body: object = eqx.field(static=True)

    def __call__(self, *args):
        return self.body(self.numbers, *args)


class Hashed:
    """Can be an element of a set, and holds numbers."""

    def __init__(self):
        self.numbers = np.ones(3)


def _fill(array):
    """Return a function that changes an array in place."""
    return lambda values: operator.setitem(array, slice(None), values)


def _array():
    return np.ones(3)


def global_array_rebound(body):
    def put(values):
        globals()["NUMBERS"] = np.array(values)

    return lambda *args: body(NUMBERS, *args), put


def global_array_in_place(body):
    globals()["NUMBERS"] = np.ones(3)
    return lambda *args: body(NUMBERS, *args), _fill(NUMBERS)


def global_float(body):
    def put(values):
        globals()["OFFSET"] = float(values[0])
        globals()["REST"] = [float(v) for v in values[1:]]

    return lambda *args: body(np.array([OFFSET, *REST]), *args), put


REST = [1.0, 1.0]


def global_list(body):
    return (
        lambda *args: body(np.array(FLOATS), *args),
        lambda v: operator.setitem(FLOATS, slice(None), [float(x) for x in v]),
    )


def through_helpers(body):
    def put(values):
        globals()["NUMBERS"] = np.array(values)

    return lambda *args: body(_read_indirectly(), *args), put


def global_dict(body):
    def put(values):
        BOX["inner"]["numbers"] = np.array(values)

    return lambda *args: body(BOX["inner"]["numbers"], *args), put


def namespace(body):
    def put(values):
        SPACE.deep.numbers = np.array(values)

    return lambda *args: body(SPACE.deep.numbers, *args), put


def module_variable(body):
    def put(values):
        MODULE.numbers = np.array(values)

    return lambda *args: body(MODULE.numbers, *args), put


def imported_inside(body):
    def put(values):
        MODULE.numbers = np.array(values)

    def function(*args):
        import a_module_of_a_user

        return body(a_module_of_a_user.numbers, *args)

    return function, put


def imported_name_inside(body):
    def put(values):
        MODULE.numbers = np.array(values)

    def function(*args):
        from a_module_of_a_user import numbers

        return body(numbers, *args)

    return function, put


def cell_rebound(body):
    numbers = np.ones(3)

    def put(values):
        nonlocal numbers
        numbers = np.array(values)

    return lambda *args: body(numbers, *args), put


def cell_in_place(body):
    numbers = np.ones(3)
    return lambda *args: body(numbers, *args), _fill(numbers)


def cell_of_cell(body):
    numbers = np.ones(3)

    def read():
        return numbers

    return lambda *args: body(read(), *args), _fill(numbers)


def cell_view(body):
    base = np.zeros((3, 2))
    view = base[:, 1]
    return lambda *args: body(view, *args), _fill(view)


def cell_behind_a_lock(body):
    numbers = np.ones(100)
    numbers.flags.writeable = False

    def put(values):
        numbers.flags.writeable = True
        numbers[:3] = values
        numbers.flags.writeable = False

    return lambda *args: body(numbers[:3], *args), put


def cell_of_objects(body):
    numbers = np.array([1.0, 1.0, 1.0], object)
    return lambda *args: body(numbers.astype(float), *args), _fill(numbers)


def cell_list_of_lists(body):
    rows = [[0.0] for _ in range(3)]

    def put(values):
        for row, value in zip(rows, values, strict=True):
            row[0] = float(value)

    return lambda *args: body(np.array([r[0] for r in rows]), *args), put


def cell_long_list(body):
    rows = [[0.0, 0.0] for _ in range(60_000)]

    def put(values):
        for row, value in zip(rows[-3:], values, strict=True):
            row[0] = float(value)

    return lambda *args: body(np.array([r[0] for r in rows[-3:]]), *args), put


def cell_deep_list(body):
    numbers = np.ones(3)
    nested = numbers
    for _ in range(400):
        nested = [nested]

    def read():
        found = nested
        while isinstance(found, list):
            found = found[0]
        return found

    return lambda *args: body(read(), *args), _fill(numbers)


def cell_set(body):
    one = Hashed()
    held = {one}
    return lambda *args: body(next(iter(held)).numbers, *args), _fill(one.numbers)


def cell_memoryview(body):
    numbers = np.ones(3)
    view = memoryview(numbers)
    return lambda *args: body(np.asarray(view), *args), _fill(numbers)


def cell_bytearray(body):
    held = bytearray(np.ones(3).tobytes())

    def put(values):
        held[:] = np.asarray(values, float).tobytes()

    return lambda *args: body(np.frombuffer(bytes(held)), *args), put


def cell_ctypes(body):
    held = (ctypes.c_double * 3)(1.0, 1.0, 1.0)

    def put(values):
        held[:] = [float(v) for v in values]

    return lambda *args: body(np.array(held[:]), *args), put


def environment(body):
    def put(values):
        os.environ["EVERWILLOW_TEST"] = " ".join(str(float(v)) for v in values)

    put([1.0] * 3)

    def read(*args):
        numbers = map(float, os.environ["EVERWILLOW_TEST"].split())
        return body(np.array(list(numbers)), *args)

    return read, put


def cell_of_thread(body):
    held = threading.local()
    held.numbers = np.ones(3)

    def put(values):
        held.numbers = np.asarray(values, float)

    return lambda *args: body(held.numbers, *args), put


def cell_deque(body):
    held = collections.deque([1.0] * 3)

    def put(values):
        held.clear()
        held.extend(float(v) for v in values)

    return lambda *args: body(np.array(held), *args), put


def default_argument(body):
    numbers = np.ones(3)

    def function(*args, held=numbers):
        return body(held, *args)

    return function, _fill(numbers)


def default_replaced(body):
    def function(*args, held=np.ones(3)):  # noqa: B008
        return body(held, *args)

    def put(values):
        function.__kwdefaults__["held"] = np.array(values)

    return function, put


def function_attribute(body):
    def function(*args):
        return body(function.numbers, *args)

    def put(values):
        function.numbers = np.array(values)

    put(np.ones(3))
    return function, put


def partial(body):
    numbers = np.ones(3)
    return ft.partial(body, numbers), _fill(numbers)


def partial_attribute(body):
    helper = ft.partial(float, 1.0)

    def put(values):
        helper.numbers = np.array(values)

    put(np.ones(3))
    return lambda *args: body(helper.numbers, *args), put


def keyword_partial(body):
    numbers = np.ones(3)

    def function(*args, held):
        return body(held, *args)

    return ft.partial(function, held=numbers), _fill(numbers)


def lambda_in_a_loop(body):
    held = [np.ones(3) for _ in range(3)]
    made = [lambda *args, i=i: body(held[i], *args) for i in range(3)]
    return made[1], _fill(held[1])


def bound_method(body):
    holder = Holder(body)
    return holder.method, lambda v: setattr(holder, "numbers", np.array(v))


def nested_attribute(body):
    holder = Holder(body)
    holder.inside = Holder(None)
    return holder.of_nested, _fill(holder.inside.numbers)


def callable_object(body):
    holder = Holder(body)
    return holder, _fill(holder.numbers)


def class_attribute(body):
    def put(values):
        Holder.numbers_of_class = np.array(values)

    return Holder(body).of_class, put


def metaclass_attribute(body):
    def put(values):
        Meta.numbers = np.array(values)

    return lambda *args: body(OfMeta.numbers, *args), put


def property_of_object(body):
    holder = Holder(body)
    return holder.of_property, _fill(holder.numbers)


def slot(body):
    held = Slotted()
    return lambda *args: body(held.numbers, *args), _fill(held.numbers)


def private_slot(body):
    held = Slotted()
    return lambda *args: body(held.read(), *args), _fill(held.numbers)


def made_inside(body):
    def put(values):
        globals()["NUMBERS"] = np.array(values)

    return lambda *args: body(0.5 * Maker().doubled, *args), put


def dynamic_attribute(body):
    held = Dynamic()
    return lambda *args: body(held.numbers, *args), _fill(held.numbers)


def getattr_by_name(body):
    holder = Plain()
    name = "num" + "bers"
    return lambda *args: body(getattr(holder, name), *args), _fill(holder.numbers)


def getattr_under_a_name(body):
    holder, take, name = Plain(), getattr, "numbers"
    return lambda *args: body(take(holder, name), *args), _fill(holder.numbers)


def attrgetter(body):
    holder, take = Plain(), operator.attrgetter("numbers")
    return lambda *args: body(take(holder), *args), _fill(holder.numbers)


def methodcaller(body):
    holder, take = Holder(body), operator.methodcaller("method")
    holder.body = lambda numbers: numbers
    return lambda *args: body(take(holder), *args), _fill(holder.numbers)


def matched(body):
    held = Plain()

    def function(*args):
        match held:
            case Plain(numbers=found):
                return body(found, *args)

    return function, _fill(held.numbers)


def globals_by_name(body):
    globals()["NUMBERS_2"] = numbers = np.ones(3)

    def function(*args):
        return body(globals()[f"NUMBERS_{2}"], *args)

    return function, _fill(numbers)


def evaluated(body):
    globals()["NUMBERS_2"] = numbers = np.ones(3)
    return lambda *args: body(eval("1.0 * NUMBERS_2"), *args), _fill(numbers)


def module_by_name(body):
    def put(values):
        MODULE.numbers = np.array(values)

    def function(*args):
        return body(sys.modules["a_module_of_a_user"].numbers, *args)

    return function, put


def module_with_getattr(body):
    numbers = np.ones(3)
    module = types.ModuleType("another_module_of_a_user")
    module.__getattr__ = lambda name: {"numbers": numbers}[name]
    return lambda *args: body(module.numbers, *args), _fill(numbers)


def enum_value(body):
    return lambda *args: body(Options.numbers.value, *args), _fill(
        Options.numbers.value
    )


def record(body):
    held = Record(np.ones(3))
    return lambda *args: body(held.numbers, *args), _fill(held.numbers)


def named_tuple(body):
    held = Pair("pair", np.ones(3))
    return lambda *args: body(held.numbers, *args), _fill(held.numbers)


def module_of_equinox(body):
    numbers = np.ones(3)
    return Module(numbers, body), _fill(numbers)


def module_in_cell(body):
    module = Module(np.ones(3), body)
    return lambda *args: module(*args), _fill(module.numbers)  # noqa: PLW0108


def method_of_module(body):
    module = Module(np.ones(3), body)
    return module.__call__, _fill(module.numbers)


def jitted(body):
    numbers = np.ones(3)
    return jax.jit(lambda *args: body(numbers, *args)), _fill(numbers)


def jitted_helper(body):
    numbers = np.ones(3)
    helper = jax.jit(lambda x: x * numbers)
    return lambda *args: body(helper(1.0), *args), _fill(numbers)


def loop(body):
    numbers = np.ones(3)

    def step(i, values):
        return values.at[i].set(jnp.asarray(numbers)[i])

    return (
        lambda *args: body(jax.lax.fori_loop(0, 3, step, jnp.zeros(3)), *args),
        _fill(numbers),
    )


def custom_derivative(body):
    numbers = np.ones(3)

    @jax.custom_jvp
    def scaled(x):
        return x * numbers

    @scaled.defjvp
    def _(primals, tangents):
        return scaled(*primals), tangents[0] * numbers

    return lambda *args: body(scaled(jnp.ones(())), *args), _fill(numbers)


def wrapped_by_jax(body):
    numbers = np.ones(3)
    inner = jax.vmap(lambda i: jnp.asarray(numbers)[i])
    return lambda *args: body(inner(jnp.arange(3)), *args), _fill(numbers)


def decorated(body):
    numbers = np.ones(3)

    def decorate(function):
        @ft.wraps(function)
        def wrapped(*args):
            return function(numbers, *args)

        return wrapped

    return decorate(body), _fill(numbers)


def generator_expression(body):
    numbers = np.ones(3)
    return lambda *args: body(jnp.stack([n for n in numbers]), *args), _fill(numbers)  # noqa: C416


def method_of_array(body):
    numbers = np.ones(3)
    take = numbers.copy
    return lambda *args: body(take(), *args), _fill(numbers)


HOLDERS = {
    one.__name__: one
    for name, one in list(globals().items())
    if isinstance(one, types.FunctionType)
    and one.__module__ == __name__
    and not name.startswith("_")
}
