"""The notebook runs from top to bottom in a Jupyter kernel, and is committed without outputs."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
TINY = '''
DATA, BACKBONE, TRAIN_ON, SEED, EPOCHS = "", "", "lfw+mlfw", 0, 2
SETTINGS = {"data.drawn": {"lfw_train": 60, "lfw_eval": 30, "real_test": 24, "people_train": 30},
            "keep.tensorboard": False, "compute.device": "cpu"}
'''


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_has_no_outputs(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    (path,) = NOTEBOOKS
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells
                     if "parameters" in cell.metadata.get("tags", ())]
    parameters.source += f"\n{TINY}\nWORK = {str(tmp_path / 'work')!r}\n"
    NotebookClient(notebook, timeout=500, kernel_name="python3",
                   resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [one for one in shown if one.output_type == "error"]
    pictures = [one for one in shown if "image/png" in one.get("data", {})]
    assert len(pictures) == 2  # the curves and what the model looks at
    text = "\n".join(map(text_of, shown))
    for words in ("best epoch of each score", "val_uar", "real/test, n = 24", "<iframe srcdoc=",
                  "calibrated on", "probability_neutral"):
        assert words in text, words
    assert list((tmp_path / "work/runs").glob("resmasking_tiny-scratch-*/train.json"))


def text_of(output: Any) -> str:
    return str(output.get("text", "")) + "".join(
        str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))
