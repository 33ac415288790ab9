"""The page: sections that panels fill, each from a partial of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from genpipe.pipelines.report.picture import Picture


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A section of the page.

    name: of its partial, panels/NAME.html.j2, and its address in the page; values: what the partial is filled with;
    pictures: by name, for the partial, and each a PNG file beside the page; files: names of PNG files, and their bytes,
    that the page does not show as they are; metrics: numbers that the panel found, for the tracker.
    """

    name: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def render(panels: Sequence[Panel], **values: Any) -> str:
    """The page as one HTML text. values: what page.html.j2 itself is filled with."""
    templates = environment(__package__)
    sections = [
        (panel, Markup(templates.get_template(f"panels/{panel.name}.html.j2").render(_given(panel))))
        for panel in panels
    ]
    return templates.get_template("page.html.j2").render(sections=sections, **values)


def environment(package: str) -> Environment:
    """The templates of a package; those that it has not (the style, macros) are the report's."""

    def template(name: str) -> str:
        own = files(package).joinpath(name)
        return (own if own.is_file() else files(__package__).joinpath(name)).read_text(encoding="utf-8")

    return Environment(
        loader=FunctionLoader(template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _given(panel: Panel) -> dict[str, Any]:
    return {**panel.values, "pictures": panel.pictures}
