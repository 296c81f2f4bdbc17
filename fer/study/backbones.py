"""Which backbones are meant by names and by studies: for bringing their weights in."""

from collections.abc import Sequence

from fer.config.load import apply, load_backbone, load_study, locate, read_based
from fer.config.schema import Backbone, RunConfig
from fer.config.validate import validate
from fer.errors import CallerError
from fer.study.expand import cells


def backbones_of(names: Sequence[str]) -> list[Backbone]:
    """Return the backbones that start from a weights file, of names and of studies, each once.

    Raises:
        CallerError: an unknown name, or one that starts from no file.
    """
    found: dict[str, Backbone] = {}
    for name in names:
        if name.endswith((".yaml", ".yml")):
            study = load_study(name)
            of_study = [apply(read_based(locate(study.base)), {**study.set, **cell}, name)
                        for cell in cells(study)]
            made = [validate(RunConfig, tree, name).backbone for tree in of_study]
            found |= {one.name: one for one in made if _from_file(one)}
            continue
        one = load_backbone(name)
        if not _from_file(one):
            raise CallerError(f"backbone '{name}' starts from no weights file "
                              "(its YAML says none under pretrained)")
        found[one.name] = one
    return list(found.values())


def _from_file(backbone: Backbone) -> bool:
    return backbone.pretrained is not None and backbone.pretrained.source == "file"
