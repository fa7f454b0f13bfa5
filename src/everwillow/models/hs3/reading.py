"""Reading of HS3 documents as models."""

import copy
from collections.abc import Mapping
from os import PathLike
from typing import Any

from everwillow.likelihood.binned.spec import BinnedSpec
from everwillow.model import AbstractModel
from everwillow.models.binned import BinnedModel
from everwillow.models.hs3.document import read_document
from everwillow.models.hs3.likelihood import read_likelihood
from everwillow.models.hs3.model import Hs3Model
from everwillow.models.json_source import collection_paused


Source = Mapping[str, Any] | str | PathLike[str]


@collection_paused()
def load(
    source: Source, analysis: str | int | None = None, *, shapesys: str | None = None
) -> AbstractModel:
    """Load an analysis of an HS3 document as a model.

    Args:
        source: A document, or the path of a JSON file.
        analysis: Name or position of the analysis; the first if None. A document
            without analyses has likelihoods instead.
        shapesys: Whether the `vals` of shapesys are ``"absolute"`` errors or
            ``"relative"`` ones; None to infer it, with a remark in the report.

    Returns:
        A `BinnedModel` if all distributions are histfactory ones, a `Hs3Model`
        otherwise. Its `report` lists normalisations and assumptions.

    Raises:
        EverwillowError: If the document cannot be read, with the JSON pointer, what
            was expected and what was found.

    Example:
        >>> mu = {"type": "normfactor", "parameter": "mu"}
        >>> signal = {"data": {"contents": [5.0]}, "name": "signal", "modifiers": [mu]}
        >>> region = {"name": "SR", "type": "histfactory_dist", "samples": [signal]}
        >>> counts = {"name": "obs", "type": "binned", "contents": [7]}
        >>> pairs = {"name": "L", "distributions": ["SR"], "data": ["obs"]}
        >>> document = {
        ...     "metadata": {"hs3_version": "0.2"},
        ...     "distributions": [region],
        ...     "data": [counts],
        ...     "likelihoods": [pairs],
        ... }
        >>> model = load(document)
        >>> print(f"{model.nll({'mu': 1.4}):.4f}")
        1.9038
        >>> print(model.report[-1])
        No point has a value for 'mu': the start is 1.
    """
    document = read_document(source)
    likelihood = read_likelihood(document, analysis, shapesys=shapesys)
    if not likelihood.terms and not likelihood.joint:
        return BinnedModel.from_spec(likelihood.spec)
    return Hs3Model.from_parts(
        likelihood.spec,
        likelihood.terms,
        likelihood.parameters,
        likelihood.joint,
        copy.deepcopy(document.root.value),
    )


def read_spec(
    source: Source, analysis: str | int | None = None, *, shapesys: str | None = None
) -> BinnedSpec:
    """Read an analysis that consists of histfactory distributions.

    Args:
        source: A document, or the path of a JSON file.
        analysis: Name or position of the analysis; the first if None.
        shapesys: Whether the `vals` of shapesys are ``"absolute"`` errors or
            ``"relative"`` ones; None to infer it, with a remark in the report.

    Returns:
        The binned likelihood, whose `report` lists all assumptions.

    Raises:
        EverwillowError: If the document cannot be read, with the JSON pointer, or if
            the analysis has distributions of other types.

    Example:
        >>> mu = {"type": "normfactor", "parameter": "mu"}
        >>> signal = {"data": {"contents": [5.0]}, "name": "signal", "modifiers": [mu]}
        >>> region = {"name": "SR", "type": "histfactory_dist", "samples": [signal]}
        >>> counts = {"name": "obs", "type": "binned", "contents": [7]}
        >>> pairs = {"name": "L", "distributions": ["SR"], "data": ["obs"]}
        >>> document = {
        ...     "metadata": {"hs3_version": "0.2"},
        ...     "distributions": [region],
        ...     "data": [counts],
        ...     "likelihoods": [pairs],
        ... }
        >>> spec = read_spec(document)
        >>> spec.channels[0].observed, spec.parameters[0].name
        (array([7.]), 'mu')
    """
    document = read_document(source)
    likelihood = read_likelihood(document, analysis, shapesys=shapesys)
    others = [*(term.name for term in likelihood.terms), *likelihood.joint]
    if others:
        names = ", ".join(map(repr, others[:4]))
        document.root.refuse(
            f"the analysis {likelihood.name!r} has other terms than histfactory "
            f"distributions ({names}). Use load, which reads these too."
        )
    return likelihood.spec
