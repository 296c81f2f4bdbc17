"""What of a file starts a network: said in three lines, refused if it is too little, made to fit.

Positions, bias tables and stems change their size; a head of other expressions is mapped.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from test_weights_projects import emotiefflib, network, pictures, state_of
from torch import Tensor

from fer.config.backbone import Backbone, Pretrained
from fer.config.load import load_run
from fer.config.paths import cache
from fer.config.run import Inputs
from fer.config.run_id import run_id
from fer.errors import CallerError
from fer.models import registry
from fer.models.fit_tensors import fitted, with_mapped_head
from fer.models.weights import load_pretrained, save_weights
from fer.transfer.model_inspection import refuse_misfits

CLASSES = ("negative", "neutral", "positive")
SEVEN = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
FER2013 = {"0": "negative", "1": "negative", "2": "negative", "3": "positive", "4": "negative",
           "5": "drop", "6": "neutral"}
NAMES = {name.lower(): FER2013[str(number)] for number, name in enumerate(SEVEN)}


def tiny(seed: int = 0, classes: tuple[str, ...] = CLASSES, **backbone: Any) -> Any:
    torch.manual_seed(seed)
    return registry.build(Backbone(name="x", arch="cbam_tiny", input_size=48, **backbone), classes)


def without(state: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return a state dict without its largest tensors that have at most a share of its numbers."""
    most = share * sum(tensor.numel() for tensor in state.values())
    found, dropped = dict(state), 0.0
    for key, tensor in sorted(state.items(), key=lambda pair: -pair[1].numel()):
        if dropped + tensor.numel() <= most:
            dropped += found.pop(key).numel()
    return found


# ----- said, and refused


def test_a_report_is_three_lines_with_what_matched_what_not_and_what_was_made_to_fit(
    tmp_path: Path
) -> None:
    state = without(state_of(tiny()), 0.05)
    torch.save({"model": {**state, "more.weight": torch.ones(2)}}, tmp_path / "w.pth")
    report = load_pretrained(tiny(7), tmp_path / "w.pth")
    matched, left_out, fit = report.lines()
    assert matched.startswith(f"matched {report.matched} of {report.tensors} tensors")
    assert f"{int(1000 * report.share) / 10:g} % of its weights, read under 'model'" in matched
    assert left_out.startswith("left out: the head was dropped") and "more.weight" in left_out
    assert fit == "made to fit: nothing"
    assert all(key in report.lines(most=None)[1] for key in report.missing)


@pytest.mark.parametrize(("share", "least", "refused"), [
    (0.05, None, False), (0.15, None, True), (0.15, 0.8, False), (0.15, 0.95, True),
    (0.05, 0.99, True)])
def test_less_than_nine_tenths_of_the_weights_is_refused_unless_said(
    share: float, least: float | None, refused: bool, tmp_path: Path
) -> None:
    torch.save(without(state_of(tiny()), share), tmp_path / "w.pth")
    start = Pretrained(source="file", file="w.pth", min_matched=least)
    model = tiny(7, pretrained=start)
    if not refused:
        assert load_pretrained(model, tmp_path / "w.pth").share < 1
        return
    with pytest.raises(CallerError, match=r"^[^\n]*w.pth: only \d+ % of the weights of 'cbam_tiny' "
                       r"before the head[^\n]*backbone.pretrained.min_matched to 0.\d+$"):
        load_pretrained(model, tmp_path / "w.pth")
    assert torch.equal(model.net.state_dict()["conv1.weight"],
                       tiny(7).net.state_dict()["conv1.weight"])


def test_resmasking_still_starts_from_a_resnet_as_upstream(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = registry.build(Backbone(name="x", arch="resmasking"), CLASSES)
    trunk = {key: torch.zeros(value.shape) for key, value in model.net.state_dict().items()
             if not key.startswith("mask")}
    torch.save(trunk, tmp_path / "w.pth")
    assert load_pretrained(model, tmp_path / "w.pth").share < 0.2


# ----- made to fit


@pytest.mark.parametrize(("key", "old", "new"), [
    ("pos_embed", (1, 197, 8), (1, 17, 8)),  # with a class token
    ("pos_embed", (1, 196, 8), (1, 64, 8)),  # without
    ("pos_embed", (1, 201, 8), (1, 21, 8)),  # with four registers
    ("encoder.pos_embedding", (1, 50, 8), (1, 17, 8)),  # torchvision's
    ("pos_embed", (1, 14, 14, 8), (1, 4, 4, 8)),
    ("b.relative_position_bias_table", (169, 3), (49, 3)),
    ("b.relative_position_bias_table", (3, 13, 13), (3, 7, 7))])
def test_positions_of_another_size_are_interpolated(
    key: str, old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    found, changed = fitted({key: torch.full(old, 0.5)}, {key: torch.zeros(new)})
    assert found[key].shape == new and torch.allclose(found[key], torch.tensor(0.5))
    assert changed == {key: f"{'x'.join(map(str, old))} to {'x'.join(map(str, new))}, interpolated"}


@pytest.mark.parametrize(("old", "new"), [
    ((1, 198, 8), (1, 17, 8)), ((1, 197, 9), (1, 17, 8)), ((197, 8), (1, 17, 8)), ((2, 3), (4, 3)),
    ((0, 3), (172, 3)), ((169, 3), (48, 3)), ((1, 0, 8), (1, 17, 8)), ((1, 0, 8), (1, 16, 8))])
def test_positions_of_another_kind_are_left(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    for key in ("pos_embed", "relative_position_bias_table"):
        found, changed = fitted({key: torch.ones(old)}, {key: torch.zeros(new)})
        assert found[key].shape == old and not changed


def test_a_network_without_a_class_token_leaves_its_position_out() -> None:
    old = torch.rand(1, 17, 4)
    found, _ = fitted({"pos_embed": old}, {"pos_embed": torch.zeros(1, 16, 4)})
    assert torch.equal(found["pos_embed"], old[:, 1:])


def test_positions_that_do_not_fit_are_refused_unless_random_ones_are_meant(tmp_path: Path) -> None:
    source = state_of(network("timm/test_vit"))
    torch.save({**source, "pos_embed": source["pos_embed"][:, 1:]}, tmp_path / "w.pth")
    with pytest.raises(CallerError, match=r"^[^\n]*w\.pth: 'pos_embed' is [^\n]*class tokens"):
        load_pretrained(network("timm/test_vit", 7), tmp_path / "w.pth")
    model = network("timm/test_vit", 7)
    model.backbone = model.backbone.model_copy(update={"pretrained": Pretrained(
        source="file", file="w.pth", min_matched=0)})
    assert load_pretrained(model, tmp_path / "w.pth").reshaped == ("pos_embed",)


def test_a_class_token_keeps_its_position() -> None:
    old = torch.rand(1, 50, 4)
    found, _ = fitted({"pos_embed": old}, {"pos_embed": torch.zeros(1, 17, 4)})
    assert torch.equal(found["pos_embed"][:, 0], old[:, 0])


def test_a_stem_for_grey_sees_grey_the_same_in_colour_and_the_other_way_round() -> None:
    grey = torch.rand(2, 1, 8, 8)
    weight = torch.rand(4, 1, 3, 3)
    found, changed = fitted({"stem.weight": weight}, {"stem.weight": torch.zeros(4, 3, 3, 3)})
    conv = torch.nn.functional.conv2d
    assert torch.allclose(conv(grey.expand(-1, 3, -1, -1), found["stem.weight"]),
                          conv(grey, weight), atol=1e-5)
    assert changed == {"stem.weight": "4x1x3x3 to 4x3x3x3, averaged"}
    back, changed = fitted(found, {"stem.weight": torch.zeros(4, 1, 3, 3)})
    assert torch.allclose(back["stem.weight"], weight) and "summed" in changed["stem.weight"]


def test_only_the_first_convolution_is_a_stem() -> None:
    own = {"stem.weight": torch.zeros(4, 3, 3, 3), "b.weight": torch.zeros(4, 3, 3, 3)}
    assert not fitted({"b.weight": torch.ones(4, 1, 3, 3)}, own)[1]


# ----- a head of other expressions


def test_a_head_of_seven_becomes_one_of_three_classes(tmp_path: Path) -> None:
    source = tiny(0, SEVEN)
    torch.save({"net": source.net.state_dict()}, tmp_path / "w.pth")
    model = tiny(7)
    report = load_pretrained(model, tmp_path / "w.pth", True, FER2013)
    weight, bias = source.net.fc.weight, source.net.fc.bias
    mean = weight[[0, 1, 2, 4]].mean(0)
    assert torch.allclose(model.net.fc.weight[0], mean)
    assert torch.allclose(model.net.fc.bias[0], bias[[0, 1, 2, 4]].mean() + math.log(4))
    assert torch.equal(model.net.fc.weight[2], weight[3]) and torch.equal(
        model.net.fc.bias[1], bias[6])
    assert "the head's 7 classes to 3 by the label map, 1 dropped" in report.lines()[2]


def test_equal_expressions_have_the_sum_of_their_probabilities() -> None:
    state = {"fc.weight": torch.ones(7, 2), "fc.bias": torch.zeros(7)}
    own = {"fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}
    found, _ = with_mapped_head(state, own, frozenset(own), CLASSES, FER2013, ())
    shares = (torch.ones(2) @ found["fc.weight"].t() + found["fc.bias"]).softmax(0)
    assert torch.allclose(shares, torch.tensor([4.0, 1, 1]) / 6)


def test_a_file_of_ours_is_mapped_by_the_names_of_its_classes(tmp_path: Path) -> None:
    source = tiny(0, SEVEN)
    save_weights(source, tmp_path / "w")
    by_name, by_number = tiny(7), tiny(8)
    load_pretrained(by_name, tmp_path / "w", True, NAMES)
    torch.save(source.net.state_dict(), tmp_path / "w.pth")
    load_pretrained(by_number, tmp_path / "w.pth", True, FER2013)
    assert torch.equal(by_name.net.fc.weight, by_number.net.fc.weight)


def test_emotiefflibs_head_of_eight_is_mapped(tmp_path: Path) -> None:
    source = network("timm/test_efficientnet", classes=8)
    weight = source.net.classifier.weight
    torch.save(emotiefflib(source), tmp_path / "w.pt")
    labels = {str(number): cls for number, cls in enumerate(
        ["negative"] * 4 + ["positive", "neutral", "negative", "drop"])}
    model = network("timm/test_efficientnet", 7)
    load_pretrained(model, tmp_path / "w.pt", True, labels)
    assert torch.equal(model.net.classifier.weight[1:], weight[[5, 4]])


@pytest.mark.parametrize(("labels", "said"), [
    ({"a": "negative"}, "has no numbers"),
    ({str(number): "negative" for number in range(7)}, "mapped to 'neutral'"),
    ({"0": "negative", "1": "neutral"}, "has no '2'"),
    ({**FER2013, "7": "positive"}, "maps number 7, but the file has 7 logits"),
    ({"²": "negative", "1" * 5000: "neutral"}, "has no numbers")])
def test_a_map_that_does_not_cover_the_head_is_one_line(
    labels: dict[str, str], said: str, tmp_path: Path
) -> None:
    torch.save(tiny(0, SEVEN).net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CallerError, match=f"^[^\n]*w.pth: the head cannot be mapped[^\n]*{said}"):
        load_pretrained(tiny(7), tmp_path / "w.pth", True, labels)


def test_surplus_numbers_that_are_dropped_are_no_matter(tmp_path: Path) -> None:
    torch.save(tiny(0, SEVEN).net.state_dict(), tmp_path / "w.pth")
    plain, surplus = tiny(7), tiny(8)
    load_pretrained(plain, tmp_path / "w.pth", True, FER2013)
    load_pretrained(surplus, tmp_path / "w.pth", True, {**FER2013, "7": "drop", "8": "drop"})
    assert torch.equal(plain.net.fc.weight, surplus.net.fc.weight)


def test_another_head_is_refused_with_the_key_that_maps_it(tmp_path: Path) -> None:
    torch.save(tiny(0, SEVEN).net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CallerError, match=r"recipe\.init\.labels"):
        load_pretrained(tiny(7), tmp_path / "w.pth", True)


# ----- in a configuration

START = {"backbone": "cbam_tiny", "train_on": "lfw", "recipe": "imagenet_full",
         "backbone.pretrained": {"source": "file", "file": "w.pth"}, "recipe.init.keep_head": True}


def test_a_label_map_is_part_of_the_run_id_by_its_content(places: Path) -> None:
    inputs = Inputs(digests={})

    def identity(**more: Any) -> str:
        return run_id(load_run("configs/drawn.yaml", {**START, **more}), inputs)

    named = load_run("configs/drawn.yaml", {**START, "recipe.init.labels": "fer2013"})
    labels = named.recipe.init.labels
    assert labels["3"] == labels["happy"] == "positive"
    assert identity(**{"recipe.init.labels": labels}) == run_id(named, inputs)
    assert identity(**{"recipe.init.labels": {**labels, "5": "positive"}}) != run_id(named, inputs)
    assert identity(**{"recipe.init.labels": {}}) == identity()


@pytest.mark.parametrize(("more", "said"), [
    ({"recipe.init.labels": "fer99"}, "recipe.init.labels: no label map 'fer99'"),
    ({"recipe.init.labels": {"0": "joy"}}, "'0: joy' names no class"),
    ({"recipe.init.labels": "fer2013", "recipe.init.keep_head": False}, "keep_head: true")])
def test_a_wrong_label_map_is_one_line(more: dict[str, Any], said: str, places: Path) -> None:
    with pytest.raises(CallerError, match=said):
        load_run("configs/drawn.yaml", {**START, **more})


def test_planning_checks_that_the_head_is_mapped(places: Path) -> None:
    path = cache() / "weights/w.pth"
    path.parent.mkdir(parents=True)
    torch.save(network("cbam_tiny", classes=7).net.state_dict(), path)
    config = load_run("configs/drawn.yaml", {**START, "recipe.init.labels": "fer2013"})
    config = config.model_copy(update={"inputs": Inputs(digests={"weights": "one"})})
    refuse_misfits([config], cache())
    init = config.recipe.init.model_copy(update={"labels": {"0": "negative"}})
    short = config.model_copy(update={"recipe": config.recipe.model_copy(update={"init": init})})
    with pytest.raises(CallerError, match=r"has no '(1|7 logits)'"):
        refuse_misfits([short], cache())


def test_planning_refuses_a_file_with_too_few_weights_or_of_another_network(places: Path) -> None:
    path = cache() / "weights/w.pth"
    path.parent.mkdir(parents=True)
    config = load_run("configs/drawn.yaml", {**START, "recipe.init.keep_head": False})
    for number, (state, said) in enumerate([
            (state_of(network("timm/test_resnet")), "another architecture"),
            (without(state_of(network("cbam_tiny")), 0.2), "less than 90 %")]):
        torch.save(state, path)
        inputs = Inputs(digests={"weights": str(number)})
        with pytest.raises(CallerError, match=f"^[^\n]*w.pth: [^\n]*{said}[^\n]*$"):
            refuse_misfits([config.model_copy(update={"inputs": inputs})], cache())


def test_swins_windows_of_another_size_are_interpolated(tmp_path: Path) -> None:
    options = {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2], "patch_size": 4}
    source = network("timm/swin_tiny_patch4_window7_224", window_size=8, **options)
    torch.save(state_of(source), tmp_path / "w.pth")
    model = network("timm/swin_tiny_patch4_window7_224", 7, window_size=4, **options)
    report = load_pretrained(model, tmp_path / "w.pth")
    assert report.share == 1 and "relative_position_bias_table" in report.lines()[2]
    assert model(pictures()).shape == (2, 3)
