"""What the documents say is complete: scripts, folders, keys of profiles, states, defaults."""

import re
import typing

import pytest
from conftest import REPOSITORY

from fer.config.backbone import Pretrained
from fer.config.profile import Profile
from fer.data.ingest.known_sets import _FILES, _PICTURES
from fer.study.run_records import State

README = (REPOSITORY / "README.md").read_text()
CLUSTER = (REPOSITORY / "docs/cluster.md").read_text()


@pytest.mark.parametrize("script", sorted(p.name for p in (REPOSITORY / "launch").glob("*.py")))
def test_every_script_is_in_the_readme(script: str) -> None:
    assert f"python launch/{script}" in README


@pytest.mark.parametrize("package", sorted(
    p.parent.name for p in (REPOSITORY / "fer").glob("*/__init__.py")))
def test_every_package_is_in_the_map_of_folders(package: str) -> None:
    assert f"| `fer/{package}` |" in README


@pytest.mark.parametrize("key", sorted(Profile.model_fields))
def test_every_key_of_a_profile_is_in_its_reference(key: str) -> None:
    assert re.search(rf"^\|[^|]*`{key}`[^|]*\|", CLUSTER, re.MULTILINE)


@pytest.mark.parametrize("key", ["array_parallelism", "signal_delay", "max_restarts",
                                 "cpus_per_gpu", "gpu_request"])
def test_the_reference_has_the_true_defaults(key: str) -> None:
    (row,) = re.findall(rf"^\| `{key}` \| `?([^|`]+)`? \|", CLUSTER, re.MULTILINE)
    assert row.strip() == str(Profile.model_fields[key].default)


@pytest.mark.parametrize("state", sorted(set(typing.get_args(State)) - {"pending"}))
def test_every_state_that_a_study_shows_is_explained(state: str) -> None:
    assert re.search(rf"^\|[^|]*`{state}`[^|]*\|", CLUSTER, re.MULTILINE)


def test_every_command_of_the_readme_names_a_script_that_is_there() -> None:
    named = set(re.findall(r"(?:launch|slurm|benchmarks)/\w+\.py", README + CLUSTER))
    assert named and all((REPOSITORY / name).is_file() for name in named)


@pytest.mark.parametrize("verb", re.findall(
    r"^def (\w+)\(", (REPOSITORY / "launch/data.py").read_text(), re.MULTILINE))
def test_every_verb_of_the_data_script_is_in_its_page(verb: str) -> None:
    verb = verb.partition("_")[0]
    assert f"python launch/data.py {verb}" in (REPOSITORY / "docs/data.md").read_text()
    assert re.search(rf"launch/data\.py [a-z\\|]*\b{verb}\b", README)


@pytest.mark.parametrize("verb", re.findall(
    r"^def (\w+)\(", (REPOSITORY / "launch/annotate.py").read_text(), re.MULTILINE))
def test_every_verb_of_the_labelling_script_is_in_its_page(verb: str) -> None:
    text = (REPOSITORY / "docs/labelling.md").read_text()
    assert f"python launch/annotate.py {verb}" in text or verb == "label"


def test_the_page_on_weights_has_every_key_of_a_start_and_the_starts_of_its_study() -> None:
    text = (REPOSITORY / "docs/weights.md").read_text()
    internal = {"base", "set", "licence", "origin"}  # of parent runs; filled in by the catalogue
    assert all(f"{key}:" in text for key in Pretrained.model_fields.keys() - internal)
    assert all(f"{key}:" in text for key in ("keep_head", "labels"))
    study = (REPOSITORY / "sweeps/starts.yaml").read_text()
    names = re.findall(r"(?:hf:|- )([\w.]+/[\w.]+)", study)
    assert len(names) == 6 and all(name.removeprefix("timm/") in text for name in names)


def test_every_source_of_the_page_on_weights_is_linked_and_given() -> None:
    text = (REPOSITORY / "docs/weights.md").read_text()
    given = set(re.findall(r"^\[(\w+)\]: https://", text, re.MULTILINE))
    assert given == set(re.findall(r"\]\[(\w+)\]", text))


def test_the_page_on_labelling_has_the_keys_of_the_page() -> None:
    text = (REPOSITORY / "docs/labelling.md").read_text()
    keys = re.search(r"mask_types: \"(\w+)\", poses: \"(\w+)\"", (
        REPOSITORY / "fer/annotate/page.js").read_text())
    assert keys and all(f"`{' '.join(row)}`" in text for row in keys.groups())
@pytest.mark.parametrize("name", sorted(
    path.stem for path in (REPOSITORY / "configs/labels").glob("*.yaml")))
def test_every_label_map_is_in_the_page_on_data(name: str) -> None:
    assert f"`{name}`" in (REPOSITORY / "docs/data.md").read_text()


def test_every_known_set_is_in_the_page_on_data_and_begins_with_three_ways_in() -> None:
    text = (REPOSITORY / "docs/data.md").read_text()
    assert all(known.name in text for known in [*_FILES.values(), *_PICTURES.values()])
    ways = text.partition("Three ways in:")[2].partition("## ")[0]
    assert all(verb in ways for verb in (
        "add LFW-FER.zip", "align", "annotate", "export", "mask", "verify", "RAF-DB"))


def test_pictures_of_the_pages_are_there() -> None:
    pages = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]
    named = [page.parent / name for page in pages
             for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())]
    assert len(named) >= 4 and all(path.is_file() for path in named)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = re.findall(r"`((?:fer/)?[a-z_]+/[a-z_/]+(?:\.py|/))`", (REPOSITORY / page).read_text())
    folders = {path.name for path in (REPOSITORY / "fer").iterdir()}
    inside = [name.removeprefix("fer/") for name in named
              if name.startswith("fer/") or name.split("/")[0] in folders]
    lost = [name for name in inside if not (REPOSITORY / "fer" / name).exists()]
    assert not lost and (inside or page == "CONTRIBUTING.md")
