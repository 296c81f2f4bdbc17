"""The weights files that backbones and the runs of a study start from."""

from collections.abc import Iterator, Sequence

from fer.config.backbone import Backbone, Pretrained
from fer.config.blocks import load_backbone
from fer.config.load import Resolved, apply, load_study, locate, read_based, resolve
from fer.config.run import RunConfig
from fer.config.validate import validate
from fer.config.weights_file import is_hub, is_url
from fer.errors import CallerError
from fer.study.expand import cells


def files_of(names: Sequence[str]) -> dict[str, Backbone]:
    """Return weights file -> a backbone that starts from it, for backbone names and studies.

    For a study, those of all its runs and their ancestors. A file of the hub or a URL stands for
    itself.

    Raises:
        CallerError: an unknown name, or a backbone without a weights file.
    """
    found: dict[str, Backbone] = {}
    for name in names:
        if is_hub(name) or is_url(name):
            start = validate(Pretrained, {"source": "file", "file": name}, name)
            found.setdefault(name, Backbone(name="file", arch="file", pretrained=start))
            continue
        if name.endswith((".yaml", ".yml")):
            for backbone in _of_study(name):
                found.setdefault(_file(backbone), backbone)
            continue
        one = load_backbone(name)
        if not _file(one):
            raise CallerError(f"backbone '{name}' starts from no weights file "
                              "(its YAML has none under pretrained)")
        found.setdefault(_file(one), one)
    return found


def _of_study(name: str) -> Iterator[Backbone]:
    study = load_study(name)
    base = read_based(locate(study.base))
    known: Resolved = {}
    for cell in cells(study):
        place = f"study '{study.study}'"
        yield from _starts(resolve(apply(base, {**study.set, **cell}, place), place, known))


def _starts(config: RunConfig) -> Iterator[Backbone]:
    """Yield the backbones whose weights files a run and its ancestors start from."""
    if config.recipe.init.source == "pretrained" and _file(config.backbone):
        yield config.backbone
    for parent in config.parents.values():
        yield from _starts(parent)


def _file(backbone: Backbone) -> str:
    pretrained = backbone.pretrained
    return (pretrained.file or "") if pretrained and pretrained.source == "file" else ""
