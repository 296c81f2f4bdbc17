"""JSON schemas of the YAML files, for completion and validation in an editor."""

from pathlib import Path
from typing import Annotated

import typer

from fer.cli import run


def schemas(
    folder: Annotated[Path, typer.Argument(help="Output folder.")] = Path("configs/schemas"),
) -> None:
    """Write run.json, study.json, profile.json, backbone.json and recipe.json.

    In VS Code or any editor with yaml-language-server, name a schema in the first line of a file:
    # yaml-language-server: $schema=schemas/run.json
    """
    from fer.commands.schemas import write_editor_schemas

    for path in write_editor_schemas(folder):
        print(path)


if __name__ == "__main__":
    run(schemas)
