"""Names of the models of a combination, and of their parameters in it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EverwillowError,
    KeyCollisionError,
    ShapeMismatchError,
    nearest,
    unknown_key,
)
from everwillow._typing import Key
from everwillow.model import AbstractModel
from everwillow.model.entries import number
from everwillow.statelib import State, merge, prefix, rename


Models = dict[str, AbstractModel]


def named_models(models: Any) -> Models:
    """Return the models by name, ``"model0"`` and so on if they have none.

    Raises:
        ArgumentTypeError: If something is no model, or a name no string.
        ArgumentValueError: If there is none, or a name is empty.
    """
    if isinstance(models, Mapping):
        named = dict(models)
    elif isinstance(models, Sequence) and not isinstance(models, str):
        named = {f"model{i}": model for i, model in enumerate(models)}
    else:
        raise ArgumentTypeError(
            "combine: models must be a list of Models or a dict of them by name, got "
            f"{type(models).__name__}."
        )
    if not named:
        raise ArgumentValueError("combine: give at least one Model.")
    for name, model in named.items():
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"combine: the names of models must be strings, got {name!r}."
            )
        if not name:
            raise ArgumentValueError("combine: the name of a model must not be empty.")
        if not isinstance(model, AbstractModel):
            raise ArgumentTypeError(
                f"combine: {name!r} must be a Model, got {type(model).__name__}. Make "
                "one with Model(main_nll, params, observation), or join bare "
                "functions with prepare."
            )
    return named


def joint_states(
    models: Models, renames: Any, shared: Collection[Key] | None
) -> tuple[dict[str, State], State]:
    """Return each model's State under its names in the combination, and all merged.

    Raises:
        UnknownKeyError: If a key to rename or to share is in no model.
        ArgumentValueError: If a key to share is in one of several models only.
        KeyCollisionError: If two parameters would have one key.
        ShapeMismatchError: If a shared parameter has several shapes.
    """
    by_model = _renames(renames, models)
    states = {}
    for name, model in models.items():
        try:
            states[name] = rename(model.state, by_model.get(name, {}))
        except EverwillowError as error:
            raise type(error)(f"combine: model {name!r}: {error}") from error
    if shared is not None:
        states = _with_prefixes(states, shared)
    try:
        merged = merge(*states.values())
    except ShapeMismatchError as error:
        numbered = ", ".join(f"{i} is {name!r}" for i, name in enumerate(states))
        raise ShapeMismatchError(f"combine: {error} (State {numbered}.)") from error
    return states, merged.with_values([number(value) for value in merged.values()])


def _renames(renames: Any, models: Models) -> dict[str, Mapping[Key, Key]]:
    names = list(models)
    if renames is None:
        return {}
    if isinstance(renames, Mapping):
        per_model = [isinstance(new, Mapping) for new in renames.values()]
        if not any(per_model):
            return _for_all(renames, models)
        if not all(per_model):
            raise ArgumentTypeError(
                "rename: give either {old: new} for all models or "
                "{model: {old: new}}, not both in one mapping."
            )
        chosen = {}
        for model, mapping in renames.items():
            name = _model_name(model, names)
            if name in chosen:
                raise ArgumentValueError(
                    f"rename: {name!r} is there twice, by name and by position."
                )
            chosen[name] = mapping
        return chosen
    if not isinstance(renames, Sequence) or isinstance(renames, str):
        raise ArgumentTypeError(
            "rename: expected {old: new}, {model: {old: new}} or a list with one "
            f"mapping for each model, got {type(renames).__name__}."
        )
    if len(renames) != len(names):
        raise ArgumentValueError(
            f"rename: got {len(renames)} mappings for {len(names)} models."
        )
    return {name: new or {} for name, new in zip(names, renames, strict=True)}


def _for_all(
    renames: Mapping[Key, Key], models: Models
) -> dict[str, Mapping[Key, Key]]:
    known = dict.fromkeys(key for model in models.values() for key in model.state)
    for old in renames:
        if old not in known:
            raise unknown_key(old, known, where="rename")
    return {
        name: {old: new for old, new in renames.items() if old in model.state}
        for name, model in models.items()
    }


def _model_name(model: Any, names: list[str]) -> str:
    if model in names:
        return model
    if isinstance(model, int) and 0 <= model < len(names):
        return names[model]
    hint = nearest(model, names) or f" The models are {', '.join(map(repr, names))}."
    raise ArgumentValueError(f"rename: there is no model {model!r}.{hint}")


def _with_prefixes(states: dict[str, State], shared: Any) -> dict[str, State]:
    if isinstance(shared, str) or not isinstance(shared, Collection):
        raise ArgumentTypeError(
            f"shared: expected a collection of keys, got {shared!r}."
        )
    known = dict.fromkeys(key for state in states.values() for key in state)
    for key in shared:
        if key not in known:
            raise unknown_key(key, known, where="shared")
        users = [name for name, state in states.items() if key in state]
        if len(users) == 1 and len(states) > 1:
            # Most often the parameter has another name in the other models.
            raise ArgumentValueError(
                f"shared: only {users[0]!r} has the parameter {key!r}, so it is shared "
                "with nobody. Use rename= for the other models, or leave it out; it "
                f"is {users[0]}.{key} then."
            )
    prefixed = {
        name: prefix(state, name, keep=[key for key in shared if key in state])
        for name, state in states.items()
    }
    owner: dict[Key, str] = {}
    for name, state in prefixed.items():
        for key in state:
            other = owner.setdefault(key, name)
            if other != name and key not in shared:
                raise KeyCollisionError(
                    f"combine: a parameter of {other!r} and one of {name!r} would both "
                    f"be {key!r} with the prefixes of their models. Name the models "
                    "otherwise."
                )
    return prefixed
