"""pyhf workspaces as back-ends of spey."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, final

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    ShapeMismatchError,
    UnknownKeyError,
    nearest,
)
from everwillow.interop.spey._programs import use_double_precision
from everwillow.interop.spey.backend import AbstractBackend
from everwillow.models.histfactory import apply_patches, from_pyhf
from everwillow.models.hs3.signals import read_signal, signals_of


Source = Mapping[str, Any] | str | PathLike[str]


@final
class PyhfBackend(AbstractBackend):
    """A pyhf workspace, with a signal or with a patch that adds it, for spey.

    Interpolations are those of pyhf's command line (code 4 and code 4p). JAX is
    switched to double precision.

    Args:
        signal_patch: A JSON patch: its operations, a file, or a
            `everwillow.models.histfactory.Patch`; or several of these in a list.
        background_only_model: The workspace, or the path of a JSON file.
        signal_yields: Expected signal by channel, in place of a patch: a list with one
            number for each bin, ``{"contents": [...], "errors": [...]}``, or several
            of these by the name of the sample. Errors are not part of the likelihood.
        workspace: The workspace, if it contains the signal: another name of
            `background_only_model`.
        measurement: Name or position of the measurement; the first if None.
        poi_name: The parameter of interest; that of the measurement if None.
        interpolation: The codes, as in `everwillow.models.histfactory.from_pyhf`.
        auxiliary_asimov: ``"fitted"`` or ``"nominal"``; see `AbstractBackend`.
        seed: Random seed for the pseudo-experiments; None for a new one each time.

    Raises:
        EverwillowError: If the workspace or the patch cannot be read.

    Example:
        >>> sample = {"name": "background", "data": [4.0], "modifiers": []}
        >>> backend = PyhfBackend(
        ...     background_only_model={
        ...         "channels": [{"name": "SR", "samples": [sample]}],
        ...         "observations": [{"name": "SR", "data": [5]}],
        ...         "measurements": [
        ...             {"name": "search", "config": {"poi": "mu", "parameters": []}}
        ...         ],
        ...         "version": "1.0.0",
        ...     },
        ...     signal_yields={"SR": [2.0]},
        ... )
        >>> print(f"{backend.get_logpdf_func()([0.5]):.4f}")
        -1.7403
        >>> backend.config().parameter_names
        ['mu']
    """

    name = "everwillow.pyhf"

    def __init__(
        self,
        signal_patch: Any = None,
        background_only_model: Source | None = None,
        signal_yields: Mapping[str, Any] | None = None,
        *,
        workspace: Source | None = None,
        measurement: str | int | None = None,
        poi_name: str | None = None,
        interpolation: str | Mapping[str, str] = "default",
        auxiliary_asimov: str = "fitted",
        seed: int | None = None,
    ) -> None:
        use_double_precision()
        given = [w for w in (background_only_model, workspace) if w is not None]
        if len(given) != 1:
            raise ArgumentTypeError(
                "everwillow.pyhf: give one workspace, as background_only_model or as "
                f"workspace; got {len(given)}."
            )
        source: Any = given[0]
        patches: Any = signal_patch or None
        if signal_yields:
            source = apply_patches(source, signal_patch or [])
            patches = _signal_operations(
                source, signal_yields, measurement=measurement, poi_name=poi_name
            )
        model = from_pyhf(
            source,
            measurement=measurement,
            patches=patches,
            poi=poi_name,
            interpolation=interpolation,
        )
        if model.poi is None:
            raise ArgumentValueError(
                "The measurement names no parameter of interest. Say which one it is "
                f"with poi_name: {', '.join(map(str, model.state))}."
            )
        super().__init__(model, model.poi, auxiliary_asimov=auxiliary_asimov, seed=seed)


def _signal_operations(
    workspace: Mapping[str, Any],
    signals: Mapping[str, Any],
    *,
    measurement: str | int | None,
    poi_name: str | None,
) -> list[dict[str, Any]]:
    """Return the JSON patch that adds signals to a valid workspace.

    Args:
        workspace: The workspace.
        signals: Yields by channel, in the forms of the back-ends.
        measurement: The measurement whose POI scales the signals, by name or position.
        poi_name: The parameter that scales them instead.

    Raises:
        UnknownKeyError: If there is no such channel.
        ShapeMismatchError: If the number of bins is wrong.
        KeyCollisionError: If the channel has a sample of that name.
        ArgumentValueError: If the parameter that scales the signals is not known.
    """
    poi = poi_name or _poi_of(workspace["measurements"], measurement)
    if not poi:
        raise ArgumentValueError(
            "poi_name: say which parameter scales the signal; the measurement does not."
        )
    channels = {channel["name"]: channel for channel in workspace["channels"]}
    places = {name: i for i, name in enumerate(channels)}
    operations = []
    for name, sample, yields, errors in signals_of(signals, list(channels)):
        if name not in channels:
            hint = nearest(name, channels) or f" There is: {', '.join(channels)}."
            raise UnknownKeyError(f"signal_yields: there is no channel {name!r}.{hint}")
        samples = channels[name]["samples"]
        contents = read_signal(name, sample, yields, errors, poi).contents
        bins = len(samples[0]["data"])
        if len(contents) != bins:
            raise ShapeMismatchError(
                f"signal_yields: {len(contents)} yields, but the channel {name!r} has "
                f"{bins} bins."
            )
        if any(other["name"] == sample for other in samples):
            raise KeyCollisionError(
                f"signal_yields: {name!r} has a sample {sample!r} already. Name yours: "
                f'{{"{name}": {{"my_signal": [...]}}}}.'
            )
        scaled = {"name": poi, "type": "normfactor", "data": None}
        value = {"name": sample, "data": list(contents), "modifiers": [scaled]}
        path = f"/channels/{places[name]}/samples/-"
        operations.append({"op": "add", "path": path, "value": value})
    return operations


def _poi_of(measurements: list[Any], chosen: str | int | None) -> str:
    for i, measurement in enumerate(measurements):
        if chosen is None or chosen in (i, measurement["name"]):
            return measurement["config"]["poi"] or ""
    return ""
