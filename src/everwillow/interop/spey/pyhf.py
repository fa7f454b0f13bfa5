"""pyhf workspaces as back-ends of spey."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, final

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.interop.spey._programs import use_double_precision
from everwillow.interop.spey._signals import signal_operations
from everwillow.interop.spey.backend import AbstractBackend
from everwillow.models.histfactory import apply_patches, from_pyhf


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
            of these by the name of the sample. Errors are no part of the likelihood.
        workspace: The workspace, if it contains the signal: another name of
            `background_only_model`.
        measurement: Name or position of the measurement; the first if None.
        poi_name: The parameter of interest; that of the measurement if None.
        interpolation: As in `everwillow.models.histfactory.from_pyhf`.
        auxiliary_asimov: ``"fitted"`` or ``"nominal"``; see `AbstractBackend`.
        seed: Random seed for the pseudo-experiments; None draws other ones each time.

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
            patches = signal_operations(
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
