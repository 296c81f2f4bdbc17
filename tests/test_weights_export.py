"""`launch/weights.py export`: files for others give the model's own outputs, or are not written."""

import json

import onnxruntime
import pytest
import torch
from conftest import launch, toy_arguments
from test_mistakes import said_in_one_line
from test_weights import CLASSES, SEVEN, pictures, tiny

from fer.errors import CallerError
from fer.models import export as exporting
from fer.models.checkpoint_import import read_foreign
from fer.models.export import FORMATS, NAME, export
from fer.models.weights import save_weights

ARCHS = ["resmasking_tiny", "cbam_tiny"]


def trained(arch="resmasking_tiny", classes=CLASSES):
    """Return a model whose batch-norm statistics are not those of a new one."""
    model = tiny(arch, classes, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    with torch.no_grad():
        model.train()(pictures())
    return model.eval()


@pytest.mark.parametrize(("arch", "suffix"), [
    pytest.param(arch, suffix, marks=pytest.mark.slow if arch != ARCHS[0] else ())
    for arch in ARCHS for suffix in FORMATS])
def test_every_format_gives_the_models_outputs(arch, suffix, tmp_path):
    assert export(trained(arch), tmp_path / f"model{suffix}") < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == [f"model{suffix}"]


@pytest.mark.slow
def test_onnx_takes_any_number_of_pictures_and_says_what_it_is(tmp_path):
    model = trained()
    export(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 4):
        images = pictures()[:count]
        (found,) = session.run(None, {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(found), model(images), atol=1e-5)
    said = json.loads(session.get_modelmeta().custom_metadata_map["fer"])
    assert said["classes"] == list(CLASSES) and said["backbone"]["mean"] == [0.5, 0.4, 0.3]


def test_an_exported_program_takes_any_number_of_pictures_and_says_what_it_is(tmp_path):
    model = trained("cbam_tiny")
    export(model, tmp_path / "m.pt2")
    files = {NAME: ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=files).module()
    for count in (1, 4):
        assert torch.allclose(program(pictures()[:count]), model(pictures()[:count]), atol=1e-5)
    assert json.loads(files[NAME])["backbone"]["arch"] == "cbam_tiny"


def test_the_originals_names_come_back_as_they_went(tmp_path):
    model = trained(classes=SEVEN)
    export(model, tmp_path / "m.pth")
    content = torch.load(tmp_path / "m.pth", weights_only=True)["net"]
    assert any("downsample" in key and ".conv" in key for key in content)  # its aliases too
    state = read_foreign(tmp_path / "m.pth")
    assert all(torch.equal(state[key], own) for key, own in model.net.state_dict().items())


def test_outputs_that_differ_are_not_written(tmp_path, monkeypatch):
    wrong = trained()
    with torch.no_grad():
        wrong.net.fc.bias.add_(0.01)

    def write_another(model, path):
        save_weights(wrong, path)
        return wrong

    monkeypatch.setitem(exporting.FORMATS, ".safetensors", write_another)
    with pytest.raises(CallerError, match="outputs would differ"):
        export(trained(), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_run_is_exported_by_its_name(places, tmp_path):
    done = launch("train", "configs/drawn.yaml", *toy_arguments(train__epochs=1))
    assert done.returncode == 0, done.stderr
    for suffix in (".pt2", ".safetensors"):
        done = launch("weights", "export", "resmasking_tiny-*", tmp_path / f"out{suffix}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "negative, neutral, positive" in done.stdout and "48 x 48" in done.stdout
    again = launch("weights", "export", tmp_path / "out.safetensors", tmp_path / "out.onnx")
    assert again.returncode == 0 and (tmp_path / "out.onnx").is_file(), again.stderr
    said_in_one_line(launch("weights", "export", "none-*", tmp_path / "a.pt2"), "none-*")
    said_in_one_line(launch("weights", "export", "resmasking_tiny-*", tmp_path / "a.pkl"), ".onnx")
