"""The section `General`: one measurement or several."""

from everwillow._errors import nearest
from everwillow.models.nsbi.configuration._context import Context
from everwillow.models.nsbi.configuration.records import MeasurementEntry
from everwillow.models.yaml_section import Section


def read_measurements(
    context: Context, general: Section | None
) -> tuple[MeasurementEntry, ...]:
    """Read `General`, whose parameters are declared by the other sections."""
    if general is None:
        return ()
    sections = general.sections("Measurement", required=True, single=True)
    general.finish()
    names: dict[str, int] = {}
    return tuple(
        _measurement(context, section, names, several=len(sections) > 1)
        for section in sections
    )


def _measurement(
    context: Context, section: Section, names: dict[str, int], *, several: bool
) -> MeasurementEntry:
    parameters = context.parameters
    name = context.declare(section, names, "measurement")
    # Sentences name the measurement if there is another one.
    of = f" of {name!r}" if several else ""
    poi = section.text("POI") or ""
    if poi and poi not in parameters:
        hint = nearest(poi, parameters) or f" There are: {', '.join(parameters)}."
        section.fault(section.line_of("POI"), f"POI is no parameter: {poi!r}.{hint}")
    listed = section.texts("ParametersToFit", empty=True)
    fitted = tuple(parameters)
    if listed is not None:
        fitted = context.known(section, listed, parameters, "parameter")
        if poi and poi not in fitted:
            fitted = (poi, *fitted)
            context.report.say(
                f"POI {poi!r} is not in ParametersToFit{of}; it is fitted."
            )
        # Braces of a name are no placeholders.
        escaped = of.replace("{", "{{").replace("}", "}}")
        for held in (one for one in parameters if one not in fitted):
            context.report.collect(
                "Held at their nominal values, as they are not in "
                f"ParametersToFit{escaped}: {{names}}.",
                held,
            )
    entry = MeasurementEntry(
        name,
        poi,
        fitted,
        section.text("ErrorDef") or "LIKELIHOOD",
        section.flag("TemplateStatistics"),
    )
    section.finish()
    return entry
