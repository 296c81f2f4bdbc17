"""Two users share a store: nothing that one writes there is run by the commands of the other."""

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import launch
from fuzz.cache_doors import seal_again
from test_safe_path import PLANTED


class Touch:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


def torch_file(canary: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"net.weight": torch.zeros(2), "x": Touch(canary)}, stream)
    return stream.getvalue()


def array_file(canary: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Touch(canary)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def extension_table(file: Path, canary: Path) -> bytes:
    """Return a table with one more column, of a type that pyarrow 14.0.0 unpickles."""
    table = pq.read_table(file)
    field = pa.field("more", pa.int64(), metadata={
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Touch(canary))})
    stream = io.BytesIO()
    pq.write_table(table.append_column(field, pa.array([0] * len(table))), stream)
    return stream.getvalue()


def yaml_text(canary: Path) -> str:
    return f"schema: 1\nx: !!python/object/apply:os.system [\"touch '{canary}'\"]\n"


def weights(home: Path, cache: Path, canary: Path) -> Iterator[Path]:
    """A pickle in the place of the weights, with a checksum that fits; results are made anew."""
    for file in home.glob("runs/*/checkpoints/step-*/model.safetensors"):
        file.write_bytes(torch_file(canary))
        seal_again(file.parent)
        (file.parents[2] / "results/real/test.json").unlink(missing_ok=True)
        yield file


def tables(home: Path, cache: Path, canary: Path) -> Iterator[Path]:
    for file in [*home.rglob("*.parquet"), *cache.rglob("*.parquet")]:
        file.write_bytes(extension_table(file, canary))
        yield file


def configurations(home: Path, cache: Path, canary: Path) -> Iterator[Path]:
    for file in home.rglob("*.yaml"):
        file.write_text(yaml_text(canary))
        yield file


def records(home: Path, cache: Path, canary: Path) -> Iterator[Path]:
    for file in [*home.rglob("*.json"), *home.rglob("*.jsonl"), *home.glob("runs/*/lease"),
                 *cache.rglob("*.json")]:
        file.write_bytes(pickle.dumps(Touch(canary)))
        yield file


def arrays(home: Path, cache: Path, canary: Path) -> Iterator[Path]:
    for file in cache.rglob("*.npy"):
        file.write_bytes(array_file(canary))
        yield file
    for file in home.glob("runs/*/results/real/test.json"):
        file.unlink()


def modules(home: Path, cache: Path, canary: Path) -> Iterator[Path]:
    """Files with names of libraries, scripts and pickles in every folder of the store."""
    code = f"import os; os.system(\"touch '{canary}'\")\n"
    for folder in [home, cache, *(path for path in home.rglob("*") if path.is_dir())]:
        if folder.parent.name == "jobs":
            continue  # of mode 700: tests/test_modes.py
        for name in (*PLANTED, "conftest", "usercustomize"):
            (folder / f"{name}.py").write_text(code)
            yield folder / f"{name}.py"
        for name in ("0_submitted.pkl", "0_0_result.pkl", "last.pkl"):
            (folder / name).write_bytes(pickle.dumps(("success", Touch(canary))))
        (folder / "script.sh").write_text(f"#!/bin/sh\ntouch '{canary}'\n")
        (folder / "script.sh").chmod(0o755)


KINDS = (weights, tables, configurations, records, arrays, modules)


@pytest.mark.slow
@pytest.mark.parametrize("plant", KINDS)
def test_nothing_that_another_user_writes_into_a_store_is_run(
    plant: Callable[[Path, Path, Path], Iterator[Path]], two_seeds: dict[str, str], tmp_path: Path
) -> None:
    home, cache, canary = tmp_path / "home", tmp_path / "cache", tmp_path / "canary"
    shutil.copytree(two_seeds["FER_HOME"], home, symlinks=True)
    shutil.copytree(two_seeds["FER_CACHE"], cache)  # not the links to what tests share
    study = two_seeds["STUDY"]
    env = {"FER_DATA": two_seeds["FER_DATA"], "FER_HOME": str(home), "FER_CACHE": str(cache)}
    for before in (["report", "toy"], ["status", "toy"]):  # caches, to be replaced
        assert launch(*before, **env).returncode == 0
    assert list(plant(home, cache, canary)), "nothing was planted"
    for command in (["status"], ["status", "toy"], ["status", "toy", "--failed"],
                    ["report", "toy"], ["report", "toy", "--attention"],
                    ["evaluate", "--study", "toy", "--split", "real/test"],
                    ["evaluate", "*", "--split", "lfw/eval", "--checkpoint", "last"],
                    ["sweep", study, "--cluster", "local", "--dry-run"],
                    ["sweep", study, "--cluster", "local"]):
        done = launch(*command, **env)
        assert not canary.exists(), f"{command} ran it"
        said = done.stdout + done.stderr
        assert "Traceback" not in said, f"{command}: {said[-3000:]}"
        assert done.returncode in (0, 1, 2), command


def test_the_canary_dies_where_code_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "can ary"
    for loaded in (lambda: torch.load(io.BytesIO(torch_file(canary)), weights_only=False),
                   lambda: np.load(io.BytesIO(array_file(canary)), allow_pickle=True)):
        loaded()
        assert canary.exists()
        canary.unlink()
    assert zipfile.is_zipfile(io.BytesIO(torch_file(canary)))
    import yaml

    yaml.unsafe_load(yaml_text(canary))
    assert canary.exists()
