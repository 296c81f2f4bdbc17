"""With the lowest versions that setup.cfg allows, every module can be imported."""

import importlib
import pkgutil
from pathlib import Path

import lowest_versions
import pytest
from packaging.version import Version

import fer


def test_every_module_can_be_imported() -> None:
    names = [one.name for one in pkgutil.walk_packages(fer.__path__, "fer.")]
    assert len(names) > 200
    for name in names:
        importlib.import_module(name)


def test_each_library_has_one_lower_bound_and_no_other_requirement_is_without() -> None:
    bounds = lowest_versions.lowest()
    tools = {"pytest", "pytest-timeout", "selenium", "hypothesis", "ipykernel", "mypy", "ruff",
             "types-PyYAML"}
    assert {one.name for one in lowest_versions.requirements()} - tools <= {
        one.name for one in lowest_versions.requirements() if one.specifier}
    assert Version(bounds["numpy"]) >= Version("2")
    assert len(bounds) > 25


def test_two_lower_bounds_of_one_library_are_a_mistake(tmp_path: Path) -> None:
    text = "[options]\ninstall_requires =\n    a >= 1\n    # why\n    b\n"
    (tmp_path / "setup.cfg").write_text(text + "[options.extras_require]\nx =\n    a >= 1\n")
    assert lowest_versions.lowest(tmp_path / "setup.cfg") == {"a": "1"}
    (tmp_path / "setup.cfg").write_text(text + "[options.extras_require]\nx =\n    a >= 2\n")
    with pytest.raises(AssertionError, match="a: two bounds"):
        lowest_versions.lowest(tmp_path / "setup.cfg")
