"""The abstract model: the interface of all models to fits, combinations and tests."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias, cast, final

import equinox as eqx
import jax.random as jr

from everwillow._errors import ArgumentTypeError
from everwillow._native import native_tree
from everwillow._typing import Array, Key, Scalar
from everwillow.model.constraint_terms import (
    add_to_evaluation,
    check_aux,
    expected_aux,
    sampled_aux,
    summed_nll,
    values_by_key,
)
from everwillow.model.entries import checked_scalar
from everwillow.model.flat import FlatMain, FlatModel
from everwillow.objective import Evaluation
from everwillow.parameters import AbstractConstraint, Interval, TransformBase
from everwillow.parameters.constraint_table import ConstraintTable
from everwillow.statelib import State


Bound: TypeAlias = Interval | TransformBase


class AbstractModel(eqx.Module):
    """A likelihood with parameters, constraints and data; an objective of `fit`.

    To write one, provide the five attributes as fields and implement `main_nll`,
    `expected` and `sample`. The data are always an argument of `main_nll`: it must not
    read `self.observation`, or toys and derivatives would not see other data.

    A model of very many parameters may also offer its likelihood as a function of
    vectors, which a compiled program handles faster than a pytree: see `FlatMain`.

    A model that knows the structure of its second derivatives may also define a method
    ``main_curvature(params, main)`` that returns the `Evaluation` of its `main_nll`
    (vectors in the order of ``ravel_pytree(params)``); constraints are added to it.

    Attributes:
        state: The parameters with their start values.
        bounds: An `Interval` or a transform for each parameter that has one.
        fixed: The value of each parameter that is not to be fitted.
        constraints: By parameter key, or by any name for a `MultivariateNormal`, whose
            `keys` are its parameters.
        observation: ``{"main": ..., "aux": {constraint name: value}}``.
        poi: Key of the parameter of interest, None unless a model names one.
        bounds_are_ranges: Whether bounds are ranges for fits only, which a limit may
            exceed, like those of workspaces.
        counts_may_vanish: Whether the expected count of a bin without events may be
            zero at the minimum. False saves failed fits the search for such a minimum.
    """

    state: eqx.AbstractVar[State]
    bounds: eqx.AbstractVar[Mapping[Key, Bound]]
    fixed: eqx.AbstractVar[Mapping[Key, Any]]
    constraints: eqx.AbstractVar[Mapping[Key, AbstractConstraint]]
    observation: eqx.AbstractVar[Mapping[str, Any]]
    main_curvature: ClassVar[Callable[..., Evaluation] | None] = None
    flat_main: ClassVar[FlatMain | None] = None
    # Without annotations, which would make these the first fields of a model that
    # overrides them with fields.
    poi = cast("Key | None", None)
    bounds_are_ranges = False
    counts_may_vanish = True

    @abc.abstractmethod
    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return -ln L of the main data, without constraints.

        Args:
            params: Pytree of parameters under their original names.
            main: Data like ``observation["main"]``.
        """

    @abc.abstractmethod
    def expected(self, params: Any) -> Any:
        """Return the Asimov main data, structured as ``observation["main"]``.

        For events without bins they are points with weights, the numbers of events that
        are expected there; they may be more or fewer than the observed events. Toys,
        too, may have room for another number of events.
        """

    @abc.abstractmethod
    def sample(self, params: Any, key: Array) -> Any:
        """Draw main data, structured as ``observation["main"]``."""

    @property
    def bin_labels(self) -> Any:
        """The names of the bins, for messages.

        A sequence of names for each array of ``observation["main"]``, in the structure
        of these; None where bins have no names. Arrays without an entry hold no counts.
        """
        return None

    @property
    def fluctuations(self) -> int:
        """Number of unit Gaussians that describe parameters profiled inside `nll`."""
        return 0

    def predicted(
        self,
        params: Any,
        observation: Any = None,
        normals: Array | None = None,
        around: Any = None,
    ) -> Any:
        """Return the predicted main data, for mappings.

        A model that profiles parameters inside `nll` overrides this: its prediction
        depends on the data, and has an error at given parameters.

        Args:
            params: Pytree of parameters under their original names.
            observation: Data by which profiled parameters are determined; None for
                nominal ones.
            normals: Deviations of these, shape ``(fluctuations,)``, as independent unit
                Gaussians.
            around: Parameters at which the profiled ones are determined; `params` if
                None.
        """
        del observation, normals, around
        return self.expected(params)

    @final
    def nll(self, params: Any, observation: Mapping[str, Any] | None = None) -> Scalar:
        """Return -ln L: that of the main data plus that of each constraint.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            observation: ``{"main": ..., "aux": ...}``; the model's own if None.
        """
        params = _tree(params)
        main, aux = self._observed(observation)
        value = checked_scalar(self.main_nll(params, main), where="main_nll")
        # Without constraints no zero is added, whose dtype could change the result.
        return value + self._constraint_nll(params, aux) if aux else value

    @final
    def __call__(
        self, params: Any, observation: Mapping[str, Any] | None = None
    ) -> Scalar:
        """Return `nll`, so that a model can be used as a likelihood."""
        return self.nll(params, observation)

    @final
    def constraint_nll(
        self, params: Any, aux: Mapping[Key, Any] | None = None
    ) -> Scalar:
        """Return the part of `nll` that comes from the constraints.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            aux: Auxiliary observation of each constraint; the model's own if None.
        """
        given = self.observation["aux"] if aux is None else aux
        check_aux(given, self.constraints)
        return self._constraint_nll(_tree(params), native_tree(given, "aux"))

    @final
    def asimov(self, params: Any) -> dict[str, Any]:
        """Return the Asimov data, auxiliary data included.

        Args:
            params: Pytree of parameters under their original names, or a `State`.

        Returns:
            ``{"main": ..., "aux": ...}``; each constraint has its maximum at `params`.
        """
        params = _tree(params)
        aux = expected_aux(self.constraints, values_by_key(self.state, params))
        return {"main": self.expected(params), "aux": aux}

    @final
    def sample_observation(self, params: Any, key: Array) -> dict[str, Any]:
        """Draw a pseudo-experiment: main and auxiliary data.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            key: PRNG key.
        """
        params = _tree(params)
        main_key, aux_key = jr.split(key)
        values = values_by_key(self.state, params)
        aux = sampled_aux(self.constraints, values, aux_key)
        return {"main": self.sample(params, main_key), "aux": aux}

    @property
    def curvature(self) -> Callable[..., Evaluation] | None:
        """The second-order evaluation of `nll`, or None if there is no structure.

        Constraints of one parameter add to the diagonal, which keeps an `Arrow`; the
        parameters of a `MultivariateNormal` move into its dense block.
        """
        given = type(self).main_curvature
        if isinstance(given, property):
            given = self.main_curvature
        # The class is checked, as binding a method takes longer than this check.
        return None if given is None else self._curvature

    @property
    def flat(self) -> FlatModel | None:
        """The same likelihood as a function of vectors, or None."""
        main, constraints = self.flat_main, self.constraints
        if main is None or not isinstance(constraints, ConstraintTable):
            return None
        return None if constraints.others else FlatModel(main, constraints)

    @property
    def bare(self) -> "AbstractModel":
        """The model with the parts that the compiled core of a fit needs.

        A model of many parameters leaves out its start values, bounds and data, which
        its likelihood does not use.
        """
        return self

    @final
    def check_observation(self, observation: Any) -> None:
        """Check that an observation has the form of the model's own.

        Raises:
            ArgumentTypeError: If it is no mapping of ``"main"`` and ``"aux"``.
            ArgumentValueError: If auxiliary observations are missing.
            UnknownKeyError: If one has the name of no constraint.
        """
        self._parts(observation)

    def _curvature(self, params: Any, observation: Any = None) -> Evaluation:
        assert self.main_curvature is not None
        params = _tree(params)
        main, aux = self._observed(observation)
        evaluation = self.main_curvature(params, main)
        if not aux:
            return evaluation
        return add_to_evaluation(evaluation, self.constraints, self.state, params, aux)

    def _constraint_nll(self, params: Any, aux: Mapping[Key, Any]) -> Scalar:
        return summed_nll(self.constraints, values_by_key(self.state, params), aux)

    def _observed(self, observation: Any) -> tuple[Any, Mapping[Key, Any]]:
        """Return main and auxiliary data in a form that JAX supports."""
        main, aux = self._parts(observation)
        main = native_tree(main, "observation['main']")
        return main, native_tree(aux, "observation['aux']")

    def _parts(self, observation: Any) -> tuple[Any, Mapping[Key, Any]]:
        if observation is None:
            observation = self.observation
        if not isinstance(observation, Mapping) or set(observation) != {"main", "aux"}:
            got = type(observation).__name__
            if isinstance(observation, Mapping):
                got = f"a mapping with the keys {sorted(map(str, observation))}"
            elif eqx.is_array(observation):
                got = "an array"
            raise ArgumentTypeError(
                'observation: a model takes {"main": data, "aux": {constraint: value}},'
                f" got {got}. To change the main data only, pass "
                '{**model.observation, "main": data}.'
            )
        check_aux(observation["aux"], self.constraints)
        return observation["main"], observation["aux"]


def _tree(params: Any) -> Any:
    params = params.to_pytree() if isinstance(params, State) else params
    return native_tree(params, "params")
