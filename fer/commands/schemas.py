"""JSON schemas of the YAML files, for completion and validation in editors."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fer.atomic_io import write_json
from fer.config.backbone import Backbone
from fer.config.blocks import BLOCK_FOLDERS, block_names
from fer.config.profile import Profile
from fer.config.recipe import Recipe
from fer.config.run import RunConfig
from fer.config.study import Study

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def editor_schemas() -> dict[str, dict[str, Any]]:
    """Return `{file name: JSON schema}` for runs, studies, profiles, backbones and recipes."""
    run = _schema(RunConfig)
    run["properties"]["base"] = {"type": "string", "description": "a file that this one overrides"}
    run["required"] = []  # missing keys may come from the base file
    for key in BLOCK_FOLDERS:
        run["properties"][key] = {"anyOf": [{"enum": block_names(key)}, run["properties"][key]]}
    blocks = {"backbone": _schema(Backbone), "recipe": _schema(Recipe)}
    for schema in blocks.values():
        schema["required"] = [key for key in schema.get("required", []) if key != "name"]
    return {"run.json": run, "study.json": _schema(Study), "profile.json": _schema(Profile),
            **{f"{name}.json": schema for name, schema in blocks.items()}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **_own_definition(model.model_json_schema(by_alias=True))}


def _own_definition(schema: dict[str, Any]) -> dict[str, Any]:
    """Inline the top-level reference that pydantic writes for a model that contains itself."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return {**schema["$defs"][name], "$defs": schema["$defs"]}
    return schema


def write_editor_schemas(folder: Path) -> list[Path]:
    """Write all schemas into `folder` and return their paths."""
    paths = []
    for name, schema in editor_schemas().items():
        write_json(folder / name, schema)
        paths.append(folder / name)
    return paths
