"""The model card of a run: README.md with front matter, in the format of the Hugging Face hub.

Pure: everything it says is handed in. Front matter: https://huggingface.co/docs/hub/model-cards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer.atomic_io import yaml_text
from fer.config.run import RunConfig
from fer.config.weights_file import is_hub
from fer.evaluate.calibration import Calibration
from fer.evaluate.intervals import Interval
from fer.inference.model_scores import METRICS, Score

HUB_METRICS = {"uar": ("recall", "UAR (unweighted average recall)"),
               "accuracy": ("accuracy", "accuracy"), "macro_f1": ("f1", "macro-F1")}
TITLES = {"uar": "UAR", "accuracy": "accuracy", "macro_f1": "macro-F1"}
FEW = 200  # test pictures; with fewer the limits say so
DRAWN = "drawings made by this project's code (MIT); no people"
KNOWN_LICENCES = {
    "LFW-FER": "academic use only (KDDI-AI-Center/LFW-emotion-dataset)",
    "M-LFW-FER": "academic use only (KDDI-AI-Center/LFW-emotion-dataset)"}
UNKNOWN = "not recorded; ask who gave you these before publishing the model"
USE = """\
from fer import load

model = load("path/to/this/folder")
one = model("face.jpg")          # a path, a PIL image, or uint8 RGB (H, W, 3)
print(one.answer, one.confidence, one.calibrated or one.probabilities)
"""


@dataclass(frozen=True)
class CardFacts:
    """What a card is filled with.

    Attributes:
        name: of the run.
        run_id: hash of everything that determines its numbers.
        config: of the run.
        scores: on test sets and their subgroups.
        calibration: None without validation predictions.
        environment: content of `env.json`; may be empty.
        parameters: number of weights.
        licence: identifier of the hub for the weights.
        data_licences: data set -> licence, as the user gave it.
    """

    name: str
    run_id: str
    config: RunConfig
    scores: Sequence[Score]
    calibration: Calibration | None
    environment: Mapping[str, Any]
    parameters: int
    licence: str
    data_licences: Mapping[str, str]


def model_card(card: CardFacts) -> str:
    """Return the text of README.md."""
    front = yaml_text(_front_matter(card), allow_unicode=True, width=100)
    return f"---\n{front}---\n\n" + "\n\n".join([
        f"# {card.name}", _summary(card), f"## Use\n\n```python\n{USE}```", _preprocessing(card),
        _training(card), _results(card), _calibrated(card), _uses(), _limits(card),
        _licences(card), _citation(card)]) + "\n"


def _front_matter(card: CardFacts) -> dict[str, Any]:
    whole = [score for score in card.scores if not score.fact]
    licence = {"license": card.licence}
    if card.licence == "other":
        licence["license_name"] = "see-licences-of-the-data"
    results = [{
        "task": {"type": "image-classification", "name": "Facial expression recognition"},
        "dataset": {"name": score.split, "type": score.split.partition("/")[0],
                    "split": score.split.partition("/")[2], "revision": score.digest},
        "metrics": [{"type": HUB_METRICS[name][0], "name": HUB_METRICS[name][1],
                     "value": round(value, 4)}
                    for name in METRICS if (value := score.metrics[name].value) is not None],
    } for score in whole]
    return {**licence, "library_name": "fer", "pipeline_tag": "image-classification",
            "tags": ["facial-expression-recognition", "masked-faces", card.config.backbone.name],
            "metrics": [kind for kind, _ in HUB_METRICS.values()],
            **({"model-index": [{"name": card.name, "results": results}]} if results else {})}


def _summary(card: CardFacts) -> str:
    config = card.config
    return (f"A classifier of facial expressions ({', '.join(config.data.classes)}): backbone "
            f"`{config.backbone.name}` with {card.parameters:,} weights, recipe "
            f"`{config.recipe.name}`, trained on `{config.train_on}` with seed {config.seed}. It "
            "is one run of a study of how models trained on synthetically masked faces do on "
            f"people who really wear masks. Run id `{card.run_id}`.")


def _preprocessing(card: CardFacts) -> str:
    backbone = card.config.backbone
    grey = ", brightness only (BT.601), in all three channels" if backbone.grey else ""
    return (f"## Preprocessing\n\nA picture shows one face, cropped as in the training set. It is "
            "turned upright (EXIF), converted to RGB, its shorter side resized to "
            f"{backbone.input_size} pixels (bilinear, antialiased), and cropped to the middle "
            f"square{grey}. Pixels are divided by 255, then (x − mean) / std with mean "
            f"{list(backbone.mean)} and std {list(backbone.std)}. The network has this built in: "
            "it takes uint8 pictures. `preprocessing.json` has the same for other programs.")


def _training(card: CardFacts) -> str:
    digests = card.config.inputs.digests if card.config.inputs else {}
    rows = [f"| `{name}` | `{digest}` |" for name, digest in digests.items()]
    versions = card.environment.get("packages", {})
    said = [f"torch {versions['torch']}"] if "torch" in versions else []
    commit = (card.environment.get("git") or {}).get("commit")
    said += [f"commit `{commit}`"] if commit else []
    return "\n".join(["## Training", "", "`config.yaml` is the whole configuration"
                      f"{'; ' + ', '.join(said) if said else ''}. Content digests:", "",
                      "| data | XXH3 digest |", "|---|---|", *rows])


def _results(card: CardFacts) -> str:
    if not card.scores:
        return "## Results\n\nThis run was not evaluated on any test set."
    classes = card.config.data.classes
    heads = ["pictures", "people", *(TITLES[name] for name in METRICS),
             *(f"recall {name}" for name in classes)]
    names = [*METRICS, *(f"recall:{name}" for name in classes)]

    def table(first: Sequence[str], rows: Sequence[tuple[Sequence[str], Score]]) -> list[str]:
        return [f"| {' | '.join([*first, *heads])} |", "|" + "---|" * (len(first) + len(heads)),
                *("| " + " | ".join([*begin, f"{score.n:,}", f"{score.people:,}" if score.people
                                     else "unknown", *(interval(score.metrics.get(name))
                                                       for name in names)]) + " |"
                  for begin, score in rows)]

    whole = [([f"`{one.split}`"], one) for one in card.scores if not one.fact]
    parts = [([f"`{one.split}`", f"{one.fact.replace('_', ' ')}: {one.value}"], one)
             for one in card.scores if one.fact]
    lines = ["## Results", "", "95 % intervals over the people of the test set (jackknife), of "
             "this one trained model, so without the variance between seeds.", "",
             *table(["test set"], whole)]
    if parts:
        lines += ["", "### Subgroups", "", *table(["test set", "subgroup"], parts)]
    return "\n".join(lines)


def interval(one: Interval | None) -> str:
    """Return a value with its limits, such as `0.71 [0.66, 0.76]`."""
    if one is None or one.value is None:
        return "–"
    if one.low is None or one.high is None:
        return f"{one.value:.3f} (no interval)"
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _calibrated(card: CardFacts) -> str:
    said = str(card.calibration or "not calibrated: no validation predictions")
    return f"## Calibration\n\n{said[0].upper()}{said[1:]}."


def _uses() -> str:
    return """\
## Intended use

Research: comparing models and training recipes on masked faces, as a baseline, and as a start for
further training.

## Not intended use

Decisions about people: hiring, policing, border control, health, education, advertising, or any
kind of surveillance. A face shows an expression, not what somebody feels or intends. Emotion
recognition at work and in education is prohibited in the European Union, but for medical or safety
reasons (Regulation 2024/1689, Article 5)."""


def _limits(card: CardFacts) -> str:
    config, whole = card.config, [one for one in card.scores if not one.fact]
    lines = ["One training: another seed gives other answers; the study's report has their spread.",
             "Selection and calibration use the validation split of the training sets "
             f"(`{config.train_on}`); on pictures of another kind, such as people who really wear "
             "masks, confidence may be wrong in either direction."]
    if config.data.drawn is not None:
        lines.insert(0, "Some data sets are **drawings made by code**: no number on them is "
                        "evidence about people.")
    lines += [f"`{one.split}` has {one.n} pictures only." for one in whole if one.n < FEW]
    lines += [f"The people of `{one.split}` are unknown; its intervals treat pictures as "
              "independent." for one in whole if not one.people]
    lines.append("Performance by age, gender and skin tone was not measured, unless a subgroup "
                 "above says so.")
    return "## Known limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _licences(card: CardFacts) -> str:
    config = card.config
    tested = {score.split.partition("/")[0] for score in card.scores}
    used = dict.fromkeys([*config.train_sets, *sorted(config.needed_sets | tested)])
    rows = [f"| `{name}` | {_licence_of(name, card)} |" for name in used]
    rows += [f"| initial weights `{file}` | {card.data_licences.get(file, UNKNOWN)} |"
             for file in _initial_weights(config)]
    return "\n".join([f"## Licences\n\nWeights: {card.licence}. Code: MIT. Data:", "",
                      "| data set | licence |", "|---|---|", *rows])


def _initial_weights(config: RunConfig) -> list[str]:
    """Return the names of the weights files that a run and its ancestors start from."""
    pretrained, found = config.backbone.pretrained, []
    if config.recipe.init.source == "pretrained" and pretrained and pretrained.file:
        file = pretrained.file
        found = [file if is_hub(file) else file.rpartition("/")[2]]
    for parent in config.parents.values():
        found += _initial_weights(parent)
    return list(dict.fromkeys(found))


def _licence_of(name: str, card: CardFacts) -> str:
    if name in card.data_licences:
        return card.data_licences[name]
    data = card.config.data
    folder = data.sets[name].folder if name in data.sets else ""
    parts = folder.rstrip("/").split("/")
    if data.drawn is not None and parts[0] == "drawn":
        return DRAWN
    return KNOWN_LICENCES.get(parts[-1], UNKNOWN)


def _citation(card: CardFacts) -> str:
    return f"""\
## How to cite

```bibtex
@software{{fer,
  title = {{fer: facial expression recognition under masks}},
  note = {{model {card.name}}}
}}
```

Cite the data sets too, as their licences ask."""
