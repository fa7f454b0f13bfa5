"""The density ratios of a region: files, or networks with the features they need."""

import dataclasses
import glob
import pathlib
from collections.abc import Mapping
from typing import get_args

from everwillow.models.data_files import expanded, locate, remote
from everwillow.models.nsbi.configuration._context import Context
from everwillow.models.nsbi.configuration.records import (
    NetworkEntry,
    RatioEntry,
    RatioFiles,
    TrainedModelEntry,
)
from everwillow.models.nsbi.spec import NetworkOutput
from everwillow.models.yaml_section import Section
from everwillow.models.yaml_source import YamlValue


_OUTPUTS: dict[str, NetworkOutput] = {name: name for name in get_args(NetworkOutput)}


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """What networks need besides their files; inner sections replace outer ones."""

    features: tuple[str, ...] = ()
    standardised: tuple[str, ...] | None = None
    scaler: pathlib.Path | None = None
    output: NetworkOutput = "score"

    def inside(self, context: Context, section: Section) -> "NetworkSettings":
        """Return the settings of a section, where those of this one are the default."""
        features = section.texts("TrainingFeatures", empty=True)
        standardised = section.texts("TrainingFeaturesToStandardize", empty=True)
        scaler = context.files(section, "Scaler")
        output = section.choice("Output", _OUTPUTS)
        return NetworkSettings(
            self.features
            if features is None
            else tuple(one.text.strip() for one in features),
            self.standardised
            if standardised is None
            else tuple(one.text.strip() for one in standardised),
            scaler[0][0] if scaler else self.scaler,
            self.output if output is None else output,
        )


def read_trained_models(
    context: Context,
    section: Section,
    settings: NetworkSettings,
    systematics: Mapping[str, bool],
) -> dict[str, TrainedModelEntry]:
    """Read `TrainedModels`.

    Args:
        context: The state of the reading.
        section: The section that contains it.
        settings: What networks need, from outer sections.
        systematics: The declared systematics, and whether they vary shapes.
    """
    found: dict[str, TrainedModelEntry] = {}
    for one in section.sections("TrainedModels", required=True):
        named = one.texts("SampleName", required=True)
        inner = settings.inside(context, one)
        nominal = one.section("Nominal", required=True)
        ratios = None
        if nominal is not None:
            own = inner.inside(context, nominal)
            ratios = _ratios(context, nominal, "Ratios", "Models", own)
            nominal.finish()
        variations = _variations(context, one, inner, systematics)
        one.finish()
        for sample in context.known(one, named or (), context.samples, "sample"):
            if sample in found:
                one.fault(one.line, f"the sample {sample!r} has another entry.")
            empty = RatioFiles((), one.line)
            found[sample] = TrainedModelEntry(ratios or empty, variations, one.line)
    return found


def _variations(
    context: Context,
    section: Section,
    settings: NetworkSettings,
    systematics: Mapping[str, bool],
) -> dict[str, tuple[RatioEntry, RatioEntry]]:
    """Read the ratios of varied densities, by the name of the systematic."""
    found: dict[str, tuple[RatioEntry, RatioEntry]] = {}
    for one in section.sections("Systematics"):
        named = one.texts("SystName", required=True)
        own = settings.inside(context, one)
        names = context.known(one, named or (), systematics, "systematic")
        up = _ratios(context, one, "RatiosUp", "ModelsUp", own)
        down = _ratios(context, one, "RatiosDn", "ModelsDn", own)
        one.finish()
        for name in names:
            if name in found:
                one.fault(one.line, f"the systematic {name!r} has another entry.")
            empty = RatioFiles((), one.line)
            found[name] = (up or empty, down or empty)
    return found


def _ratios(
    context: Context,
    section: Section,
    files: str,
    networks: str,
    settings: NetworkSettings,
) -> RatioEntry | None:
    """Read files with ratios or, if there are none, an ensemble of networks."""
    line = section.line_of(files if files in section else networks)
    models = section.texts(networks)
    if files in section:
        if models is not None:
            context.report.say(
                "Where files with ratios and networks are given, the files are used."
            )
        return RatioFiles(context.array_files(section, files), line)
    if models is None:
        section.fault(section.line, f"neither {files} nor {networks} is given.")
        return None
    paths = [path for one in models for path in _networks(context, section, one)]
    if not settings.features:
        section.fault(line, "the networks need the key 'TrainingFeatures'.")
    standardised = settings.standardised
    if standardised is None:
        standardised = settings.features if settings.scaler else ()
    for name in standardised:
        if settings.features and name not in settings.features:
            section.fault(
                line,
                f"TrainingFeaturesToStandardize has {name!r}, which is not one of the "
                "TrainingFeatures.",
            )
    if standardised and settings.scaler is None:
        section.fault(
            line,
            "TrainingFeaturesToStandardize needs the key 'Scaler': a file with the "
            "mean and scale of these features.",
        )
    return NetworkEntry(
        tuple(paths),
        settings.features,
        standardised,
        settings.scaler,
        settings.output,
        line,
    )


def _networks(
    context: Context, section: Section, named: YamlValue
) -> list[pathlib.Path]:
    """Return the files that a path, a folder or a pattern names."""
    text = expanded(named.text.strip())
    pattern = any(one in text for one in "*?[")
    if remote(text) or not (pattern or locate(text, context.folder)[0].is_dir()):
        path = context.file(section, "Models", named)
        return [] if path is None else [path]
    whole = pathlib.Path(text if pattern else f"{text}/*.onnx")
    for folder in (context.folder, pathlib.Path.cwd()):
        # Not `Path.glob`, which takes no absolute patterns.
        names = sorted(glob.glob(str(folder / whole)))  # noqa: PTH207
        if names:
            plain = [YamlValue(name, named.line, name) for name in names]
            found = (context.file(section, "Models", one) for one in plain)
            return [path for path in found if path is not None]
    section.fault(named.line, f"no network is called {str(whole)!r}.")
    return []
