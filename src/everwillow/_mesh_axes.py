"""Programs of one device inside of a `jax.shard_map`, on types without mesh axes.

Inside of `jax.shard_map` the type of an array has the axes of the mesh over which its
values differ, and JAX refuses a loop whose carry starts as a constant and then depends
on the data. A fit runs on one device and has many such loops, so it runs on arrays
whose types have no axes: `on_one_device` removes the axes from the arguments and adds
them to the results. Both operations are identities at run time and linear, and each is
the transpose of the other. Values that are the same on all devices are first declared
to differ by JAX's own cast, whose transpose is the sum over the devices, as required
for their derivatives.
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from everwillow._errors import ArgumentValueError


def mesh_axes(tree: Any) -> tuple[str, ...]:
    """Return the axes of a `jax.shard_map` over which leaves of a tree differ."""
    axes = [_axes_of(leaf) for leaf in _arrays(tree)]
    return tuple(sorted(frozenset().union(*axes)))


def as_varying(tree: Any, other: Any) -> Any:
    """Declare arrays to differ over all axes over which those of another tree do.

    A loop whose body depends on the other tree may then start from these arrays.
    """
    axes = mesh_axes(other)
    if not axes:
        return tree
    return jax.tree.map(lambda leaf: _spread(leaf, axes), tree)


def on_one_device(function: Callable[[Any], Any], arrays: Any) -> Any:
    """Call a function of arrays as if there were no `jax.shard_map` around it.

    Outside of a `jax.shard_map` the function is simply called.

    Args:
        function: Takes and returns pytrees of arrays.
        arrays: Its argument.

    Returns:
        The results of the function, each declared to differ over every axis over which
        an argument does.

    Raises:
        ArgumentValueError: If the function talks to other devices, as `jax.lax.psum`
            does: one fit would go on while another has ended.
    """
    axes, mesh = mesh_axes(arrays), _explicit_mesh(arrays)
    if not axes and mesh is None:
        return function(arrays)
    return jax.jit(ft.partial(_apart, function, axes, mesh))(arrays)


def _apart(function: Any, axes: tuple[str, ...], mesh: Any, arrays: Any) -> Any:
    """Call a function on arrays whose types have no axes of a mesh."""
    if mesh is not None:
        kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
        names = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
        whole = NamedSharding(mesh, PartitionSpec())
        function = jax.sharding.auto_axes(function, axes=names, out_sharding=whole)
    if not axes:
        return function(arrays)
    bare = jax.tree.map(lambda leaf: _retype(_spread(leaf, axes), axes, ()), arrays)
    program, shapes = jax.make_jaxpr(function, return_shape=True)(bare)
    named = {getattr(effect, "name", None) for effect in program.effects}
    if named & set(axes):
        raise ArgumentValueError(
            "nll_fn: it sums or exchanges values over the mesh axes "
            f"{', '.join(map(repr, axes))} of a jax.shard_map around the fit, where "
            "each device runs a fit of its own. Call jax.shard_map in the function, "
            "around that sum, and the fit outside of it."
        )
    out = jaxpr_as_fun(program)(*jax.tree.leaves(bare))
    out = [_retype(leaf, (), axes) for leaf in out]
    return jax.tree.unflatten(jax.tree.structure(shapes), out)


def _arrays(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]


def _explicit_mesh(tree: Any) -> Any:
    """Return the mesh of the leaves, if it has explicit axes."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in _arrays(tree)]
    for mesh in [jax.sharding.get_abstract_mesh(), *meshes]:
        if AxisType.Explicit in (mesh.axis_types or ()):
            return mesh
    return None


def _axes_of(leaf: Any) -> frozenset[str]:
    aval = jax.typeof(leaf)
    kind = getattr(aval, "manual_axis_type", None)
    # Before JAX 0.10 the type had the axes themselves.
    return getattr(aval, "vma", frozenset()) if kind is None else kind.varying


def _spread(leaf: Any, axes: tuple[str, ...]) -> Any:
    """Declare an array to differ over all of some axes."""
    leaf = jnp.asarray(leaf)
    missing = tuple(axis for axis in axes if axis not in _axes_of(leaf))
    if not missing:
        return leaf
    lax: Any = jax.lax
    if hasattr(lax, "pcast"):
        return lax.pcast(leaf, missing, to="varying")
    return lax.pvary(leaf, missing)


def _retype(leaf: Any, old: tuple[str, ...], new: tuple[str, ...]) -> Any:
    """Replace the axes in the type of an array; its values are unchanged."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return _retyped.bind(leaf, old=old, new=new)
    words = _retyped.bind(jax.random.key_data(leaf), old=old, new=new)
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))


_retyped = Primitive("retyped")


@_retyped.def_abstract_eval
def _type(aval, *, old, new):
    del old

    def made():
        return _spread(jnp.zeros(aval.shape, aval.dtype), new)

    (made_aval,) = jax.make_jaxpr(made)().out_avals
    return made_aval.update(weak_type=aval.weak_type)


def _transposed(cotangent, leaf, *, old, new):
    del leaf
    return [_retyped.bind(cotangent, old=new, new=old)]


def _batched(leaves, places, *, old, new):
    return _retyped.bind(*leaves, old=old, new=new), places[0]


ad.deflinear2(_retyped, _transposed)
batching.primitive_batchers[_retyped] = _batched
mlir.register_lowering(_retyped, lambda _, leaf, **axes: [leaf])  # noqa: ARG005
