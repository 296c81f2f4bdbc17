"""Models of the Hugging Face hub as backbones, `timm/hf_hub:ORG/NAME`: what their config.json says.

The hub is the server of `test_weights_hub`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import launch
from test_mistakes import said_in_one_line
from test_timm import CLASSES, WITH_NECK, comes_back
from test_weights_hub import Hub, hub

from fer.config import library_models
from fer.config.blocks import load_backbone
from fer.config.paths import cache
from fer.config.weights_file import weights_path
from fer.errors import CallerError
from fer.models import registry
from fer.models.hub_configs import fetch_configs

__all__ = ["hub"]
COSFACE = {  # in the manner of gaunernst/vit_small_patch8_gap_112.cosface_ms1mv3
    "architecture": "vit_tiny_patch16_224", "num_classes": 512, "num_features": 192,
    "global_pool": "avg",
    "model_args": {"img_size": 112, "patch_size": 8, "class_token": False, "global_pool": "avg"},
    "pretrained_cfg": {"input_size": [3, 112, 112], "fixed_input_size": True, "num_classes": 512,
                       "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "classifier": "head",
                       "first_conv": "patch_embed.proj", "license": "mit"}}
FACES = "timm/hf_hub:org/vit_tiny_patch8_112.cosface"


def write_config(content: Any = COSFACE, name: str = FACES) -> Path:
    """Write a `config.json` where `launch/weights.py fetch` would."""
    path = weights_path(cache(), library_models.hub_file(name, "config.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_cosface_vit_of_the_hub_is_built_as_its_configuration_says(
    places: Path, tmp_path: Path
) -> None:
    write_config()
    found = load_backbone(FACES)
    assert (found.arch, found.input_size, found.mean) == ("timm/vit_tiny_patch16_224", 112,
                                                          (0.5, 0.5, 0.5))
    assert found.options == {"patch_size": 8, "class_token": False, "global_pool": "avg"}
    assert found.pretrained is not None and found.pretrained.licence == "mit"
    assert found.pretrained.file == "hf:org/vit_tiny_patch8_112.cosface:model.safetensors"
    torch.manual_seed(0)
    model = registry.build(found.model_copy(update={"input_size": 64}), CLASSES)
    assert tuple(model.stages) == WITH_NECK
    assert model.net.pos_embed.shape == (1, 64, 192)
    comes_back(model, tmp_path)


def test_words_of_a_configuration_are_one_line_without_escape_sequences(places: Path) -> None:
    own = {**COSFACE["pretrained_cfg"], "license": "mit\x1b[31mRED\nline2"}
    write_config({**COSFACE, "pretrained_cfg": own})
    pretrained = load_backbone(FACES).pretrained
    assert pretrained is not None and str(pretrained.licence).isprintable()


@pytest.mark.parametrize("name", ["a/b..c", "a/b@..", "..a/b"])
def test_a_name_of_the_hub_that_leads_elsewhere_is_one_line(name: str, places: Path) -> None:
    said_in_one_line(launch("weights", "list", f"timm/hf_hub:{name}"), "not timm/hf_hub:ORG/NAME")


def test_a_model_of_the_hub_that_was_not_fetched_says_what_to_type(places: Path) -> None:
    with pytest.raises(CallerError, match=f"launch/weights.py fetch {FACES}") as refused:
        load_backbone(FACES)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [
    "", "[]", "{", '{"architecture": 3}', {**COSFACE, "architecture": "resnet51"},
    {**COSFACE, "pretrained_cfg": 7}, {**COSFACE, "model_args": {"img_size": "x"}},
    {**COSFACE, "model_args": {"checkpoint_path": "x"}}, {**COSFACE, "model_args": {"a": {}}},
    {**COSFACE, "model_args": {"embed_dim": 10**9}},
    {**COSFACE, "model_args": {"img_size": [96, 160]}}])
def test_a_configuration_that_says_no_network_is_one_line(content: Any, places: Path) -> None:
    write_config(content)
    with pytest.raises(CallerError) as refused, torch.device("meta"):
        registry.build(load_backbone(FACES), CLASSES)
    assert "\n" not in str(refused.value)


def test_fetching_a_study_brings_the_configuration_and_then_the_weights(
    hub: Hub, toy_study: Any, tmp_path: Path
) -> None:
    name = "timm/hf_hub:org/net"
    content = json.dumps(COSFACE).encode()
    hub.files["config.json"] = content
    study = yaml.safe_load(toy_study({"backbone": [name]}).read_text())
    study["set"].pop("backbone", None)
    path = tmp_path / "faces.yaml"
    path.write_text(yaml.safe_dump({**study, "set": {**study["set"], "recipe": "imagenet_full"}}))
    hub.sha256 = hashlib.sha256(content).hexdigest()
    done = launch("weights", "fetch", path, FER_CACHE=str(cache()))
    assert "its sha256 is" in done.stderr  # of the weights: the hub of this test names one digest
    assert load_backbone(name).arch == "timm/vit_tiny_patch16_224"
    hub.sha256 = hashlib.sha256(hub.files["model.safetensors"]).hexdigest()
    done = launch("weights", "fetch", name, FER_CACHE=str(cache()))
    assert "hf/org/net/main/model.safetensors: fetched" in done.stdout, done.stderr


def test_a_model_without_a_configuration_and_no_network_are_one_line(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    said_in_one_line(launch("weights", "fetch", "timm/hf_hub:org/net"),
                     "the repository has no file 'config.json'")
    said_in_one_line(launch("weights", "fetch", "timm/hf_hub:org"), "not timm/hf_hub:ORG/NAME")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CallerError, match="HF_HUB_OFFLINE is set; fetch weights on a machine"):
        fetch_configs(["timm/hf_hub:org/net"], cache())
