"""``everwillow sas plot``."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from everwillow._errors import ArgumentValueError, SpecificationError
from everwillow._store import save_figure
from everwillow.cli.files import check_target, labels_of
from everwillow.cli.report.terminal import busy, show
from everwillow.models.faults import Faults
from everwillow.models.scale_smearing import SasParameters, parameters_from_json
from everwillow.models.yaml_source import load_yaml
from everwillow.workflows.scale_smearing import figures
from everwillow.workflows.scale_smearing.figure_options import Mode


PICTURES = (".pdf", ".png", ".svg", ".eps")


def run(
    *,
    files: Sequence[str],
    out: str,
    ending: str | None,
    mode: Mode | None,
    names: Sequence[str] | None,
    latex: str | None,
    **options: Any,
) -> None:
    """Draw results into a file, or all their figures into a folder."""
    labels = labels_of(files, tuple(names or _short_names(files)))
    texts = None if latex is None else _texts(latex)
    chosen: Mode = mode or ("compare" if len(files) > 1 else "single")
    target = _Target.of(out, ending, [*files, *([latex] if latex else [])])
    found = {
        label: parameters_from_json(pathlib.Path(file))
        for label, file in zip(labels, files, strict=True)
    }
    options = {**options, "labels": texts, "dims": options["dims"] or None}
    with busy("Drawing"):
        if target.is_folder:
            pages = list(_all_figures(found, chosen, options))
            target.place.mkdir(parents=True, exist_ok=True)
        else:
            pages = _numbered(
                target.stem, figures.plot_results(found, mode=chosen, **options)
            )
        for name, figure in pages:
            save_figure(figure, target.file(name))
    if len(pages) == 1:
        show(f"The plot is in {target.file(pages[0][0])}.")
        return
    lines = "\n".join(f"- {target.file(name).name}" for name, _ in pages)
    show(f"{len(pages)} plots are in {target.place}:\n{lines}")


class _Target(NamedTuple):
    """Where the plots go.

    Attributes:
        place: The folder.
        stem: The name of the file without its ending; empty for a folder.
        ending: The ending of files.
    """

    place: pathlib.Path
    stem: str
    ending: str

    @property
    def is_folder(self) -> bool:
        """Whether all plots are drawn, into a folder."""
        return not self.stem

    def file(self, name: str) -> pathlib.Path:
        """Return the file of a plot."""
        return self.place / f"{name}{self.ending}"

    @classmethod
    def of(cls, out: str, ending: str | None, inputs: Sequence[str]) -> "_Target":
        """Return the target of the options; a new name with an ending is a file."""
        path = pathlib.Path(out)
        if path.is_dir() or not (path.suffix or path.exists()):
            return cls(path, "", f".{ending or 'pdf'}")
        check_target("--out", out, inputs, PICTURES)
        if ending is not None and path.suffix.lower() != f".{ending}":
            raise ArgumentValueError(
                f"--format: {ending} does not fit the name {path.name!r}. Leave the "
                "option out, or give a folder."
            )
        return cls(path.parent, path.stem, path.suffix)


def _short_names(files: Sequence[str]) -> tuple[str, ...]:
    """Return what differs in the names of the results of one data set.

    Example:
        >>> _short_names(["SASrun_syst-Nominal.json", "SASrun_syst-window.json"])
        ('Nominal', 'window')
        >>> _short_names(["SASrun_syst-Nominal.json"])
        ()
    """
    parts = [pathlib.Path(file).stem.partition("_syst-") for file in files]
    alike = len({head for head, _, _ in parts}) == 1
    short = tuple(tail for _, _, tail in parts)
    # Files of the same name in several folders have no short names.
    return short if len(files) > 1 and alike and len({*short, ""}) > len(files) else ()


def _texts(file: str) -> dict[str, str]:
    """Return the labels of a file, YAML or JSON, or those of a configuration."""
    faults = Faults(pathlib.Path(file).name)
    content = load_yaml(file, faults).plain()
    faults.check()
    if isinstance(content, Mapping) and isinstance(content.get("cat_latex"), Mapping):
        content = content["cat_latex"]
    if not isinstance(content, Mapping) or not all(
        isinstance(text, str) for text in content.values()
    ):
        raise SpecificationError(
            f"--latex: {file} has to be a mapping of variables to labels, e.g. "
            "ScEta: $\\eta_{SC}$."
        )
    return dict(content)


def _numbered(name: str, drawn: Sequence[Any]) -> list[tuple[str, Any]]:
    """Return pages with names: the first has no number."""
    return [
        (name if i == 0 else f"{name}_{i + 1}", figure)
        for i, figure in enumerate(drawn)
    ]


def _all_figures(
    found: Mapping[str, SasParameters], mode: Mode, options: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the figures of a folder: also errors and correlations of single results."""
    if mode != "single":
        drawn = figures.plot_results(found, mode=mode, **options)
        yield from _numbered(mode, drawn)
        return
    for label, one in found.items():
        own = dict(options)
        if len(found) > 1:
            own["title"] = options["title"] or label
        stem = pathlib.PurePath(label).name
        yield from _numbered(f"{stem}_parameters", figures.plot_results(one, **own))
        # The axes of the other figures are not those of the options.
        for key in ("resp", "reso", "x_range", "log_x", "size", "columns"):
            own.pop(key)
        if one.covariances:
            yield from _numbered(f"{stem}_errors", figures.plot_systematics(one, **own))
        if one.covariance is not None and options["parameter"] in _CORRELATED:
            drawn = figures.plot_correlations(one, **own)
            yield from _numbered(f"{stem}_correlations", drawn)


_CORRELATED = (None, "resp", "reso")
