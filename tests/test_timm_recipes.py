"""Recipes on networks of timm: rates per block, what does not decay, the last blocks."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import launch, toy_arguments
from test_mistakes import said_in_one_line
from timm.optim import param_groups_layer_decay

from fer.config.backbone import Backbone
from fer.config.recipe import Phase, Recipe, Span
from fer.config.run import Optim
from fer.config.run_id import scientific
from fer.errors import CallerError
from fer.models import registry
from fer.models.classifier import Classifier
from fer.transfer.phases import check_recipe, describe_phase, freeze, param_groups

CLASSES = ("negative", "neutral", "positive")
DECAY = Optim(weight_decay=0.05, decay_norms_and_biases=False)


def built(arch: str = "test_vit", size: int = 64, **options: Any) -> Classifier:
    torch.manual_seed(0)
    return registry.build(Backbone(name="x", arch=f"timm/{arch}", input_size=size,
                                   options=options), CLASSES)


def phase(**given: Any) -> Phase:
    return Phase(name="p", **given)


@pytest.mark.parametrize("arch", ["test_vit", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_rates_per_block_and_what_decays_are_timms_own(arch: str) -> None:
    with torch.device("meta"):
        model = built(arch)
    net = model.net
    expected = {id(parameter): (group["lr_scale"], group["weight_decay"])
                for group in param_groups_layer_decay(
                    net, 0.05, getattr(net, "no_weight_decay", set)(), layer_decay=0.75)
                for parameter in group["params"]}
    found = {id(parameter): (group["lr_multiplier"], group["weight_decay"])
             for group in param_groups(model, phase(decay=0.75, decay_by="block"), DECAY)
             for parameter in group["params"]}
    assert found == expected
    assert len(set(found.values())) > 8


def test_embeddings_decay_only_where_norms_and_biases_do() -> None:
    model = built()
    for optim, decays in ((DECAY, False), (Optim(weight_decay=0.05), True)):
        groups = param_groups(model, phase(), optim)
        of = {id(parameter): group["weight_decay"] for group in groups
              for parameter in group["params"]}
        assert bool(of[id(model.net.pos_embed)]) == decays
        assert bool(of[id(model.net.norm.weight)]) == decays
        assert of[id(model.net.blocks[0].mlp.fc1.weight)] == 0.05


def test_a_multiplier_of_a_stage_comes_before_rates_per_block() -> None:
    some = phase(decay=0.5, decay_by="block", multipliers={"stem": 3.0})
    rates = {group["name"]: group["lr_multiplier"] for group in param_groups(built(), some, DECAY)}
    assert rates["stem"] == 3.0 and rates["head/layer7"] == 1.0
    assert rates["stage4/layer6"] == 0.5 and rates["stage1/layer1"] == 0.5**6


def test_only_the_last_blocks_what_follows_and_the_head_move() -> None:
    model = built(drop_path_rate=0.3)
    some = phase(train=Span(last_blocks=3))
    freeze(model, some)
    groups = param_groups(model, some, DECAY)
    before = {name: one.detach().clone() for name, one in model.net.named_parameters()}
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    model.train()
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    F.cross_entropy(model(images), torch.arange(6) % 3).backward()
    optimizer.step()
    moved = {".".join(name.split(".")[:2]) if name.startswith("blocks") else name.split(".")[0]
             for name, one in model.net.named_parameters() if not torch.equal(one, before[name])}
    assert moved == {"blocks.3", "blocks.4", "blocks.5", "norm", "head"}
    assert not model.net.blocks[2].training and model.net.blocks[3].training
    model.freeze((), batch_norm=False)
    assert model.net.blocks[2].training
    rows = describe_phase(model, some, lr=0.01)
    assert [row.stage for row in rows if row.trained] == ["stage3", "stage4", "neck", "head"]
    assert {row.lr for row in rows if not row.trained} == {0.0}


def test_batch_norm_of_a_block_that_is_not_trained_stands_still() -> None:
    model = built("test_resnet")
    freeze(model, phase(train=Span(last_blocks=1)))
    means = {name: one.clone() for name, one in model.net.named_buffers() if "mean" in name}
    model.train()
    model(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    moved = {name.split(".")[0] for name, one in model.net.named_buffers()
             if "mean" in name and not torch.equal(one, means[name])}
    assert moved == {"layer4"}


@pytest.mark.parametrize(("given", "said"), [
    ({"train": Span(last_blocks=7)}, "trains 7 blocks, but this backbone has 6"),
    ({"decay": 0.5, "multipliers": {"stage9": 1.0}}, "unknown stage 'stage9'")])
def test_more_blocks_than_there_are_is_one_line(given: dict[str, Any], said: str) -> None:
    model = built()
    with pytest.raises(CallerError, match=said):
        check_recipe(Recipe(name="r", phases=(phase(**given),)), tuple(model.stages),
                     len(set(model.layers.values())))


def test_blocks_of_a_network_that_names_none_are_one_line(places: Any) -> None:
    for recipe in ("llrd_blocks", "last_blocks"):
        said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(recipe=recipe),
                                "recipe.init.source=scratch", "recipe.defaults={}", "--explain"),
                         "needs a backbone that names its blocks", "timm")


def test_phases_that_make_no_sense_are_refused_and_old_ones_keep_their_ids() -> None:
    with pytest.raises(ValueError, match="decay_by needs the factor"):
        phase(decay_by="block")
    with pytest.raises(ValueError, match="'first', 'last' or 'last_blocks'"):
        Span(last=1, last_blocks=2)
    assert scientific(Span(last=2)) == {"first": None, "last": 2}
    assert "decay_by" not in scientific(phase(decay=0.5))
