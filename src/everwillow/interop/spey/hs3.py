"""HS3 documents as back-ends of spey."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, final

from everwillow._errors import ArgumentValueError
from everwillow.interop.spey._programs import use_double_precision
from everwillow.interop.spey.backend import AbstractBackend
from everwillow.models.hs3 import WorkspaceInterpreter, load


@final
class Hs3Backend(AbstractBackend):
    """An analysis of an HS3 document, with a signal, as a back-end of spey.

    Distributions, constraints, data and start values are read by
    `everwillow.models.hs3.load`, whose `report` (``backend.model.report``) lists the
    assumptions. A nuisance parameter without a value in the document starts at 0, a
    scale factor at 1. JAX is switched to double precision.

    Args:
        hs3_dict: The document, or the path of a JSON file.
        signal_yields: Expected signal by distribution: a list with one number for each
            bin, ``{"contents": [...], "errors": [...]}``, or several of these by the
            name of the sample. Errors are not part of the likelihood. None or empty if
            the document contains the signal.
        analysis_name: The analysis; the first if None.
        poi_name: The parameter of interest, which scales the signal; the first one of
            the analysis if None.
        progress: Not used; accepted for compatibility with spey-hs3.
        mode: Not used; accepted for compatibility with spey-hs3.
        auxiliary_asimov: ``"fitted"`` or ``"nominal"``; see `AbstractBackend`.
        seed: Random seed for the pseudo-experiments; None for a new one each time.

    Raises:
        EverwillowError: If the document cannot be read or the signal does not fit it.

    Example:
        >>> sample = {"name": "background", "data": {"contents": [4.0]}}
        >>> region = {"name": "SR", "type": "histfactory_dist", "samples": [sample]}
        >>> backend = Hs3Backend(
        ...     {
        ...         "metadata": {"hs3_version": "0.2"},
        ...         "distributions": [region],
        ...         "data": [{"name": "obs", "type": "binned", "contents": [5]}],
        ...         "likelihoods": [
        ...             {"name": "L", "distributions": ["SR"], "data": ["obs"]}
        ...         ],
        ...     },
        ...     signal_yields={"SR": [2.0]},
        ...     poi_name="mu",
        ... )
        >>> print(f"{backend.get_logpdf_func()([0.5]):.4f}")
        -1.7403
        >>> backend.expected_data([1.0])
        [6.0]
    """

    name = "everwillow.hs3"

    def __init__(
        self,
        hs3_dict: Mapping[str, Any] | str | PathLike[str],
        signal_yields: Mapping[str, Any] | None = None,
        analysis_name: str | int | None = None,
        poi_name: str | None = None,
        progress: bool = True,  # noqa: FBT001, FBT002
        mode: str | None = None,
        *,
        auxiliary_asimov: str = "fitted",
        seed: int | None = None,
    ) -> None:
        del progress, mode
        use_double_precision()
        document: Any = hs3_dict
        if signal_yields:
            workspace = WorkspaceInterpreter(hs3_dict)
            scales = poi_name or _poi_of(workspace, analysis_name)
            workspace.inject_signals(signal_yields, poi_name=scales)
            document = workspace.patch()
        model = load(document, analysis_name)
        poi = poi_name or model.poi
        if poi is None:
            raise ArgumentValueError(
                "The likelihood depends on no parameter of interest. Give "
                "signal_yields if the document has the background only, or say which "
                f"parameter it is with poi_name: {', '.join(map(str, model.state))}."
            )
        super().__init__(model, poi, auxiliary_asimov=auxiliary_asimov, seed=seed)


def _poi_of(workspace: WorkspaceInterpreter, analysis: str | int | None) -> str | None:
    """Return the POI of an analysis; None to take it from the distributions."""
    if analysis is None:
        return None
    parameters = workspace.get_analysis(analysis).get("parameters_of_interest")
    if isinstance(parameters, str):
        return parameters
    return parameters[0] if parameters else None
