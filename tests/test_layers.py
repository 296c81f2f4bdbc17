"""Data flows one way through the packages, as `README.md` maps them."""

import ast
from pathlib import Path

import pytest
from conftest import REPOSITORY

ORDER = ("config", "data", "models", "transfer", "evaluate", "study", "train", "report",
         "inference", "cluster", "search", "annotate", "commands")
"""A package imports packages to its left only, and none of `FORBIDDEN`."""
FORBIDDEN = {"models": {"data"}, "transfer": {"data"}, "evaluate": {"data"},
             "study": {"models", "transfer"}, "report": {"models", "transfer", "train"}}
BASE = ("errors", "atomic_io", "cli", "progress", "checksums", "gc_pause", "locks", "machine",
        "safe_path", "legible", "untrusted_io", "parquet_io", "plain_text", "console", "CODE_GONE")


def imports(path: Path) -> set[str]:
    """Return the packages of `fer` that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fer"):
            modules = [node.module] if node.module != "fer" else [
                f"fer.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.startswith("fer.")]
        else:
            continue
        names |= {module.split(".")[1] for module in modules}
    return names - set(BASE)


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_what_comes_before_it(package: str) -> None:
    allowed = set(ORDER[: ORDER.index(package) + 1]) - FORBIDDEN.get(package, set())
    for path in (REPOSITORY / "fer" / package).rglob("*.py"):
        assert imports(path) <= allowed, path


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in (REPOSITORY / "fer").glob("*/__init__.py")}
    assert packages == set(ORDER)


def test_nobody_imports_launch() -> None:
    for path in [*REPOSITORY.glob("fer/**/*.py"), *REPOSITORY.glob("benchmarks/*.py")]:
        assert "import launch" not in path.read_text() and "from launch" not in path.read_text()
