"""The command behind `launch/weights.py`: list backbones, export the model of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fer.checksums import check_beside
from fer.config.backbone import Backbone
from fer.config.blocks import block_names, load_backbone
from fer.config.library_models import weights_of
from fer.config.paths import home
from fer.config.weights_file import weights_path
from fer.errors import CallerError
from fer.study.run_folder import RunFolder, Store
from fer.study.trained_runs import find_runs
from fer.transfer.model_inspection import anatomies_of_backbones

if TYPE_CHECKING:
    from fer.models.classifier import Classifier

MILLION = 1e6


def export_run(name: str, path: Path) -> tuple["Classifier", float]:
    """Export the model of a run; return it and the largest deviation of the file's outputs.

    Args:
        name: one trained run, or a weights file of this project.
        path: output file; its suffix gives the format, as for `fer.models.export.export`.

    Raises:
        CallerError: no such run, more than one, or what `export` refuses.
    """
    from fer.models.export import export
    from fer.models.weights import load_model
    from fer.train.checkpoint import Checkpoints

    if Path(name).is_file():
        weights = Path(name)
    else:
        run = _one_run(name)
        weights = Checkpoints(run.path / "checkpoints", keep=2).best() / "model.safetensors"
    model = load_model(weights)
    return model, export(model, path)


def export_run_folder(name: str, folder: Path, licence: str, data_licences: Sequence[str]
                      ) -> "Classifier":
    """Write a folder to publish with the model of a run and its card; return the model.

    Args:
        name: one trained run.
        data_licences: each `SET=LICENCE`.

    Raises:
        CallerError: no such run, more than one, or what `export_folder` refuses.
    """
    from fer.inference.model_folder import export_folder

    if Path(name).is_file():
        raise CallerError(f"{name}: a weights file has no results for a model card; name a run")
    wrong = [text for text in data_licences if "=" not in text]
    if wrong:
        raise CallerError(f"--data-licence {wrong[0]}: expected SET=LICENCE")
    given = dict(text.split("=", 1) for text in data_licences)
    return export_folder(_one_run(name), folder, licence, given)


def _one_run(name: str) -> RunFolder:
    folders = find_runs(Store(home()), [name])
    if len(folders) > 1:
        raise CallerError(f"'{name}' matches {len(folders)} runs, such as {folders[0].name} "
                          f"and {folders[1].name}; name one")
    return folders[0]


@dataclass(frozen=True)
class Entry:
    """One backbone: its configuration, parameter count and pretrained weights.

    Attributes:
        parameters: number of trainable parameters when nothing is frozen.
        batch_norms: stage -> number of batch-norm layers, input to output.
        weights: the file and `there`, `missing`, `empty` or `changed` since it was fetched; the
            configuration of the run that makes them; or empty.
    """

    backbone: Backbone
    parameters: int
    batch_norms: dict[str, int]
    weights: str


def entries(cache: Path, names: Sequence[str] = ()) -> Iterator[Entry]:
    """Yield backbones; torch is needed for those that were not looked at before.

    Args:
        cache: `$FER_CACHE`, which contains the weights files.
        names: all files of `configs/backbones` if empty; may be names of libraries.
    """
    backbones = [load_backbone(name) for name in names or block_names("backbone")]
    for backbone, found in zip(backbones, anatomies_of_backbones(backbones, cache), strict=True):
        if found["problem"]:
            raise CallerError(found["problem"])
        norms = dict(zip(found["stages"], found["batch_norms"], strict=True))
        yield Entry(backbone, found["parameters"], norms, _weights(backbone, cache))


def sources_of(names: Sequence[str]) -> Iterator[str]:
    """Yield a line on the weights of each backbone of a library: licence, source, other weights."""
    for name in names:
        if "/" not in name:
            continue
        pretrained = load_backbone(name).pretrained
        others = ", ".join(weights_of(name)) or "none"
        if pretrained is None:
            yield f"{name}: no weights are published; others: {others}"
        else:
            yield (f"{name}: licence {pretrained.licence or 'not stated'}; from "
                   f"{pretrained.origin or pretrained.file}; published weights: {others}")


def _weights(backbone: Backbone, cache: Path) -> str:
    pretrained = backbone.pretrained
    if pretrained is None:
        return ""
    if pretrained.source == "run":
        return f"trained by {pretrained.base}"
    assert pretrained.file is not None
    path = weights_path(cache, pretrained.file)
    try:
        check_beside(path)
        state = "missing" if not path.is_file() else "there" if path.stat().st_size else "empty"
    except CallerError:
        state = "changed"
    return f"{pretrained.file} {state}"


def table_of(found: Iterator[Entry]) -> Table:
    """Return the entries as a table."""
    table = Table("backbone", "architecture", box=None, pad_edge=False)
    for title in ("pixels", "parameters"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("stages (batch-norm layers)")
    table.add_column("pretrained weights")
    for entry in found:
        stages = " ".join(f"{stage}({count})" if count else stage
                          for stage, count in entry.batch_norms.items())
        table.add_row(entry.backbone.name, entry.backbone.arch, str(entry.backbone.input_size),
                      _millions(entry.parameters), stages, entry.weights)
    return table


def _millions(count: int) -> str:
    return f"{count / MILLION:,.{1 if count >= MILLION else 3}f} M"
