"""The shipped recipes fit every backbone and train what they say; their losses: test_golden.py."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from conftest import REPOSITORY, launch, toy_arguments
from test_mistakes import said_in_one_line
from test_transfer import STAGES, phase, recipe, same, tensors, tiny

from fer.config.blocks import block_names, load_backbone
from fer.config.load import load_run
from fer.config.recipe import Phase, Span
from fer.config.run import Optim
from fer.config.run_id import scientific
from fer.errors import CallerError
from fer.models.registry import stage_names
from fer.transfer.l2sp import Anchor, start_of
from fer.transfer.phases import check_recipe, freeze, multiplier, param_groups, trained_stages

RECIPES = block_names("recipe")
OF_BLOCKS = {"llrd_blocks", "last_blocks"}


def shipped(name: str, backbone: str = "resmasking_tiny"):
    """Return the recipe of a run that needs no parent."""
    return load_run("configs/drawn.yaml", {"recipe": name, "backbone": backbone,
                                           "train_on": "mlfw"}).recipe


@cache
def stages_of_backbones():
    """Return the stages of every shipped backbone."""
    return [stage_names(load_backbone(name)) for name in block_names("backbone")]


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_fits_every_backbone(name):
    recipe = shipped(name)
    layers = 14 if name in OF_BLOCKS else 0  # for networks of timm alone
    for stages in stages_of_backbones():
        check_recipe(recipe, stages, layers)


@pytest.mark.parametrize(("train", "expected"), [
    (Span(last=1), ("stage3", "head")), (Span(last=2), ("stage2", "stage3", "head")),
    (Span(first=1), ("stem", "head")), (Span(first=2), ("stem", "stage1", "head")),
    (Span(last=4), STAGES), ("batch_norm", STAGES)])
def test_stages_are_counted_from_either_end(train, expected):
    assert trained_stages(phase(train), STAGES) == expected


def test_what_lies_before_the_head_goes_with_the_last_stage():
    assert trained_stages(phase(Span(last=1)), ("stem", "stage1", "neck", "head")) == (
        "stage1", "neck", "head")
    assert trained_stages(phase(Span(first=1)), ("stem", "stage1", "neck", "head")) == (
        "stem", "head")


def test_more_stages_than_there_are_are_refused_with_those_there_are():
    with pytest.raises(CallerError, match=r"trains 5 stages, but this .* has 4.*stem, stage1"):
        check_recipe(recipe(phase(Span(last=5))), STAGES)


@pytest.mark.parametrize("train", ["{last: 1, first: 1}", "{}", "{last: 0}", "most"])
def test_a_span_that_makes_no_sense_is_one_line(train, places):
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(),
                            f"recipe.phases=[{{name: a, train: {train}}}]"), "recipe.phases")


def test_decay_slows_each_stage_before_the_head_and_multipliers_come_first():
    some = phase(decay=0.5, multipliers={"stage3": 3.0})
    assert [multiplier(some, stage, STAGES) for stage in STAGES] == [0.0625, 0.125, 0.25, 3.0, 1.0]


def test_only_batch_norms_and_the_head_move():
    model, some = tiny(), phase("batch_norm")
    norms = {id(p) for layer in model.batch_norms() for p in layer.parameters()}
    norms |= {id(p) for _, p in model.stage_parameters("head")}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    statistics = [tensor for stage in STAGES[:-1] for tensor in tensors(model, stage)]
    freeze(model, some)
    groups = param_groups(model, some, Optim())
    assert {id(p) for group in groups for p in group["params"]} == norms
    optimizer = torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.5)
    model.train()
    F.cross_entropy(model(torch.rand(8, 3, 48, 48)), torch.arange(8) % 3).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) not in norms), name
    after = [tensor for stage in STAGES[:-1] for tensor in tensors(model, stage)]
    assert not all(same(statistics, after))


def test_weights_before_the_head_are_pulled_to_their_start_at_their_own_rate():
    model, some = tiny(), phase(multipliers={"stem": 0.5}, l2sp=0.2)
    start = start_of(model)
    groups = param_groups(model, some, Optim(weight_decay=0.3))
    assert all(group["weight_decay"] == (0.3 if group["name"].startswith("head") else 0.0)
               for group in groups)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for group in groups:
        group["lr"] = 0.1 * group["lr_multiplier"]
    Anchor(model, some, start).pull(groups)
    for stage, left in (("stem", 0.99), ("stage2", 0.98), ("head", 1.0)):
        for name, parameter in model.stage_parameters(stage):
            before = start.get(name, parameter.detach() - 1.0)
            assert torch.allclose(parameter - before, torch.tensor(left), atol=1e-6), name


def test_without_l2sp_nothing_is_held():
    model = tiny()
    groups = [{"params": list(model.parameters()), "lr": 1.0}]
    start = start_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    before = [p.detach().clone() for p in model.parameters()]
    Anchor(model, phase(), start).pull(groups)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_explain_says_what_trains_at_which_rate():
    done = launch("train", "configs/drawn.yaml", "recipe=llrd", "--explain")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "scratch · people: from random weights" in text  # its parent first
    assert "llrd · lfw: from the run above, with a new head" in text
    assert "phase finetune: at most 12 epochs, adamw, cosine from 0.005" in text
    stage2 = next(line for line in text.split("phase finetune")[1].splitlines()
                  if line.startswith("stage2"))
    assert stage2.split()[1:4] == ["30,384", "30,384", "0.00281"]
    assert "frozen" in text.split("phase probe")[1].split("phase finetune")[0]


def test_explain_refuses_a_recipe_that_does_not_fit():
    said_in_one_line(launch("train", "configs/drawn.yaml", "--explain",
                            "recipe.phases=[{name: a, train: [stage9]}]"), "stage9", "stage3")


def test_explain_names_the_optimiser_of_each_phase():
    done = launch("train", "configs/drawn.yaml", "--explain", "recipe=scratch",
                  "recipe.phases=[{name: a, lr: 0.2, optim: {name: sgd}}, {name: b}]")
    assert "phase a: at most 12 epochs, sgd, cosine from 0.2" in done.stdout
    assert "phase b: at most 12 epochs, adamw, cosine from 0.005" in done.stdout


def test_phases_of_no_epochs_and_chains_that_loop_are_one_line(places):
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(),
                            "recipe.phases=[{name: a, epochs: 0}]"), "recipe.phases", "epochs")
    for key in ("init: {source: run, set: {seed: 1}}", "teacher: {set: {seed: 1}}"):
        pair = ", pair: {how: distill}" if "teacher" in key else ""
        said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(train_on="mlfw"),
                                f"recipe={{name: loop, {key}, phases: [{{name: a{pair}}}]}}"),
                         "the recipe's parents form a loop", "recipe.init.set")


def test_a_phase_without_what_came_later_has_the_run_id_it_had():
    kept = scientific(Phase(name="a", train=["head"]))
    assert not {"decay", "l2sp", "views", "pair", "average", "optim"} & kept.keys()


def test_the_documentation_names_every_recipe_and_no_other():
    text = (REPOSITORY / "docs/recipes.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name.strip(" `") for row in rows for name in row.split(",")}
    assert named == set(RECIPES) and len(RECIPES) == 29  # as the README says
