"""Which weights files are meant by names of backbones and by studies: for bringing them in."""

from collections.abc import Iterator, Sequence

from fer.config.load import (
    Resolved,
    apply,
    load_backbone,
    load_study,
    locate,
    read_based,
    resolve,
)
from fer.config.run import Backbone, RunConfig
from fer.errors import CallerError
from fer.study.expand import cells


def files_of(names: Sequence[str]) -> dict[str, Backbone]:
    """Return weights file -> a backbone that starts from it, of names and of studies.

    Of a study those of all its runs and of what these start and learn from.

    Raises:
        CallerError: an unknown name, or a backbone that starts from no file.
    """
    found: dict[str, Backbone] = {}
    for name in names:
        if name.endswith((".yaml", ".yml")):
            for backbone in _of_study(name):
                found.setdefault(_file(backbone), backbone)
            continue
        one = load_backbone(name)
        if not _file(one):
            raise CallerError(f"backbone '{name}' starts from no weights file "
                              "(its YAML says none under pretrained)")
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
