"""Recipes as data: what trains, how fast, and that frozen means frozen."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from fer.config.backbone import Backbone
from fer.config.recipe import Phase, Recipe
from fer.config.run import Optim
from fer.errors import CallerError
from fer.models import registry
from fer.transfer.phases import (
    check_recipe,
    describe_phase,
    freeze,
    param_groups,
    trained_stages,
)

STAGES = ("stem", "stage1", "stage2", "stage3", "head")
CLASSES = ("negative", "neutral", "positive")
ARCHS = ["resmasking_tiny", "cbam_tiny"]


def tiny(arch="cbam_tiny"):
    torch.manual_seed(0)
    return registry.build(Backbone(name="tiny", arch=arch, input_size=48), CLASSES)


def phase(train="all", **changes):
    return Phase(name="p", train=train, **changes)


def recipe(*phases):
    return Recipe(name="r", phases=phases)


def take_steps(model, parameters, steps=3):
    """Train as an engine would, `train()` first; weight decay moves whatever it may."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.5)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        model.train()
        images = torch.rand(8, 3, 48, 48, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(8) % 3).backward()
        optimizer.step()


def tensors(model, stage):
    return [tensor.detach().clone() for module in model.stages[stage]
            for tensor in (*module.parameters(), *module.buffers())]


def same(before, after):
    return [torch.equal(old, new) for old, new in zip(before, after, strict=True)]


# ----- checking


@pytest.mark.parametrize("bad, complaint", [
    (phase(["stage9"]), r"recipe 'r', phase 'p': train has an unknown stage 'stage9'.*stem, "),
    (phase(multipliers={"neck": 0.1}), r"phase 'p': multipliers has an unknown stage 'neck'.*head"),
    (phase([]), "train is empty"),
    (phase(["head", "head"]), "twice"),
    (phase(["head"], multipliers={"stem": 0.1}), "'stem', which is frozen"),
])
def test_a_phase_that_makes_no_sense_is_refused_with_its_place(bad, complaint):
    with pytest.raises(CallerError, match=complaint):
        check_recipe(recipe(phase(), bad), STAGES)


def test_a_sound_recipe_passes():
    check_recipe(recipe(phase(["head"]), phase(multipliers={"stem": 0.1})), STAGES)


def test_trained_stages_come_in_the_order_of_the_network():
    assert trained_stages(phase(["head", "stem"]), STAGES) == ("stem", "head")


# ----- groups


def test_all_means_every_parameter_in_exactly_one_group():
    model = tiny()
    groups = param_groups(model, phase(), Optim(decay_norms_and_biases=False))
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_groups_come_in_the_order_of_the_network_with_their_multipliers():
    groups = param_groups(tiny(), phase(multipliers={"stem": 0.25}), Optim())
    assert [(g["name"], g["lr_multiplier"]) for g in groups] == [
        ("stem", 0.25), ("stage1", 1.0), ("stage2", 1.0), ("stage3", 1.0), ("head", 1.0)]


def test_frozen_parameters_are_in_no_group():
    model = tiny()
    groups = param_groups(model, phase(["head"]), Optim())
    head = {id(p) for p in model.net.fc.parameters()}
    assert {id(p) for g in groups for p in g["params"]} == head


def test_norms_and_biases_are_spared_decay_where_said_so():
    optim = Optim(weight_decay=0.1, decay_norms_and_biases=False)
    groups = param_groups(tiny(), phase(["stem", "head"]), optim)
    assert [(g["name"], g["weight_decay"], [p.ndim for p in g["params"]]) for g in groups] == [
        ("stem", 0.1, [4]), ("stem/no_decay", 0.0, [1, 1]),
        ("head", 0.1, [2]), ("head/no_decay", 0.0, [1])]


def test_asking_for_groups_changes_nothing():
    model = tiny()
    param_groups(model, phase(["head"]), Optim())
    assert all(p.requires_grad for p in model.parameters()) and not model.frozen_stages


# ----- freezing


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("trained", [["head"], ["stem"], ["stage2", "head"]], ids="+".join)
def test_frozen_stages_stay_byte_equal_over_training(arch, trained):
    model = tiny(arch)
    freeze(model, phase(trained))
    before = {stage: tensors(model, stage) for stage in model.stages}
    take_steps(model, model.parameters())
    for stage in model.stages:
        assert all(same(before[stage], tensors(model, stage))) == (stage not in trained), stage


def test_frozen_batch_norm_keeps_the_statistics_of_trained_stages():
    model = tiny()
    freeze(model, phase(batch_norm="frozen"))
    before = [b.clone() for b in model.net.buffers()]
    take_steps(model, model.parameters())
    assert all(same(before, model.net.buffers()))


def test_frozen_batch_norm_leaves_its_scale_and_shift_trainable():
    model = tiny()
    freeze(model, phase(batch_norm="frozen"))
    before = model.net.bn1.weight.detach().clone()
    take_steps(model, model.parameters())
    assert not torch.equal(before, model.net.bn1.weight)


def test_dropout_in_a_frozen_stage_is_off_in_training():
    with torch.device("meta"):
        model = registry.build(Backbone(name="x", arch="vgg19"), CLASSES)
    freeze(model, phase(["head"]))
    model.train()
    drops = [m for module in model.stages["neck"] for m in module.modules()
             if isinstance(m, torch.nn.Dropout)]
    assert drops and not any(drop.training for drop in drops)


def test_the_next_phase_thaws_what_the_last_one_froze():
    model = tiny()
    freeze(model, phase(["head"]))
    freeze(model, phase())
    before = {stage: tensors(model, stage) for stage in model.stages}
    take_steps(model, model.parameters())
    assert not any(all(same(before[stage], tensors(model, stage))) for stage in model.stages)


def test_freezing_survives_a_copy():
    model = tiny()
    freeze(model, phase(["head"]))
    twin = copy.deepcopy(model)
    before = tensors(twin, "stage1")
    take_steps(twin, twin.parameters())
    assert all(same(before, tensors(twin, "stage1")))


def test_freezing_survives_synchronised_batch_norm():
    model = tiny()
    freeze(model, phase(["head"]))
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model).train()
    assert not any(layer.training for layer in model.batch_norms())


def test_freezing_survives_torch_compile():
    model = tiny()
    freeze(model, phase(["head"]))
    torch.compile(model, backend="eager").train()
    assert not any(layer.training for layer in model.batch_norms())


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_freezing_survives_distributed_training(one_process):
    model = tiny()
    freeze(model, phase(["head"]))
    before = {stage: tensors(model, stage) for stage in STAGES}
    take_steps(torch.nn.parallel.DistributedDataParallel(model), model.parameters())
    moved = [stage for stage in STAGES if not all(same(before[stage], tensors(model, stage)))]
    assert moved == ["head"]


# ----- describing


def test_a_description_says_what_trains_and_how_fast():
    rows = describe_phase(tiny(), phase(["stage3", "head"], multipliers={"stage3": 0.5}), lr=0.01)
    assert [(r.stage, r.trained, r.lr) for r in rows] == [
        ("stem", 0, 0.0), ("stage1", 0, 0.0), ("stage2", 0, 0.0),
        ("stage3", rows[3].parameters, 0.005), ("head", 99, 0.01)]


def test_a_description_counts_every_parameter_and_batch_norm_once():
    model = tiny()
    rows = describe_phase(model, phase(), lr=0.01)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert sum(row.batch_norms for row in rows) == len(model.batch_norms())


def test_checking_recipes_does_not_import_torch():
    code = "import sys, fer.transfer.phases; print('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True,
                          capture_output=True, text=True)
    assert done.stdout.strip() == "False"
