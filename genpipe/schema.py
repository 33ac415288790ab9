"""JSON Schema of recipes, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from genpipe.config import CHOICE, Config
from genpipe.recipe import MAX_SEED
from genpipe.registry import KINDS, Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema(registry: Registry, pipeline: str | None = None) -> dict[str, Any]:
    """The schema of one pipeline's recipes, or of all pipelines'."""
    definitions: dict[str, Any] = {}
    names = [pipeline] if pipeline else registry.names("pipeline")
    recipes = [_pipeline(registry.get("pipeline", name), definitions) for name in names]
    for kind in KINDS:
        if kind not in ("stage", "pipeline"):
            definitions[f"choice.{kind}"] = _choice(kind, registry, definitions)
    for definition in definitions.values():
        _leave_out_sections(definition, definitions)
    body = recipes[0] if len(recipes) == 1 else {"anyOf": recipes}
    return {"$schema": DIALECT, "title": "genpipe recipe", **body, "$defs": definitions}


def _pipeline(record: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _lifted(record.config_class, definitions)
    schema["properties"] = {
        "pipeline": {"const": record.name, "description": record.summary},
        "description": {"type": "string", "description": "One line for listings."},
        "seed": {
            "type": "integer",
            "minimum": 0,
            "maximum": MAX_SEED,
            "default": 0,
            "description": "Of every random number.",
        },
        **schema.get("properties", {}),
    }
    schema["required"] = ["pipeline", *(name for name in schema.get("required", ()) if _has_to_be_given(record, name))]
    return schema


def _has_to_be_given(record: Any, section: str) -> bool:
    """A section may be left out where everything in it has a default."""
    config_class = record.config_class.model_fields[section].annotation
    is_section = isinstance(config_class, type) and issubclass(config_class, Config)
    return not is_section or any(field.is_required() for field in config_class.model_fields.values())


def _leave_out_sections(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """The same for sections within sections, which pydantic takes to be required where they have no default."""
    required = schema.get("required", [])
    for name in list(required):
        reference = schema["properties"][name].get("$ref", "")
        section = definitions.get(reference.removeprefix("#/$defs/"), {})
        if section.get("type") == "object":
            _leave_out_sections(section, definitions)
            if not section.get("required"):
                required.remove(name)


def _choice(kind: str, registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    """A component: its bare name, or a mapping with the name and the options of that component."""
    records = [provided.record for provided in registry.all(kind)]
    mappings = []
    for record in records:
        schema = _lifted(record.config_class, definitions)
        schema["title"], schema["description"] = record.name, record.summary
        schema["properties"] = {"name": {"const": record.name}, **schema.get("properties", {})}
        schema["required"] = ["name", *schema.get("required", [])]
        mappings.append(schema)
    return {"anyOf": [{"enum": [record.name for record in records]}, *mappings]}


def _lifted(config_class: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """A config's schema, its own definitions moved to the top, where its references look for them."""
    schema: dict[str, Any] = config_class.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update({name: _referring(inner) for name, inner in schema.pop("$defs", {}).items()})
    referring: dict[str, Any] = _referring(schema)
    return referring


def _referring(schema: Any) -> Any:
    """A schema with a reference wherever a field chooses a component."""
    if isinstance(schema, list):
        return [_referring(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if CHOICE in schema:
        rest = {k: v for k, v in schema.items() if k != CHOICE}
        return {"$ref": f"#/$defs/choice.{schema[CHOICE]}", **rest}
    return {key: _referring(value) for key, value in schema.items()}
