"""From HS3 documents to models."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from everwillow.likelihood.binned_spec import BinnedSpec
from everwillow.models.hs3._likelihood import read_likelihood
from everwillow.models.hs3._pointer import refuse
from everwillow.models.hs3.document import read_document


Source = Mapping[str, Any] | str | PathLike[str]


def read_spec(
    source: Source, analysis: str | int | None = None, *, shapesys: str | None = None
) -> BinnedSpec:
    """Read an analysis that consists of histfactory distributions.

    Args:
        source: A document, or the path of a JSON file.
        analysis: Name or position of the analysis; the first if None.
        shapesys: Whether the `vals` of shapesys are ``"absolute"`` errors or
            ``"relative"`` ones; None to find out. The report says what was found.

    Returns:
        The binned likelihood, whose `report` lists all that was assumed.

    Raises:
        EverwillowError: If the document cannot be read, with the JSON pointer, or if
            the analysis has distributions of other types.

    Example:
        >>> spec = read_spec(
        ...     {
        ...         "metadata": {"hs3_version": "0.2"},
        ...         "distributions": [
        ...             {
        ...                 "name": "SR",
        ...                 "type": "histfactory_dist",
        ...                 "samples": [
        ...                     {
        ...                         "name": "signal",
        ...                         "data": {"contents": [5.0]},
        ...                         "modifiers": [
        ...                             {"type": "normfactor", "parameter": "mu"}
        ...                         ],
        ...                     }
        ...                 ],
        ...             }
        ...         ],
        ...         "data": [{"name": "obs", "type": "binned", "contents": [7]}],
        ...         "likelihoods": [
        ...             {"name": "L", "distributions": ["SR"], "data": ["obs"]}
        ...         ],
        ...     }
        ... )
        >>> spec.channels[0].observed, spec.parameters[0].name
        (array([7.]), 'mu')
    """
    document = read_document(source)
    likelihood = read_likelihood(document, analysis, shapesys=shapesys)
    if likelihood.terms:
        names = ", ".join(repr(term.name) for term in likelihood.terms[:4])
        refuse(
            document.root,
            f"the analysis {likelihood.name!r} has other terms than histfactory "
            f"distributions ({names}). Use load, which reads these too.",
        )
    return likelihood.spec
