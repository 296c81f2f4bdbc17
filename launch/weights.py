"""Weights in and out: which backbones there are, original checkpoints in, trained models out."""

from typing import Annotated

import typer

from fer.cli import run


def list_backbones() -> None:
    """List the backbones: input size, parameters, stages, and whether their weights are there."""
    from rich.console import Console

    from fer.commands.weights import entries, table_of
    from fer.config.paths import cache

    Console().print(table_of(entries(cache())))
    typer.echo(f"weights lie in {cache() / 'weights'}; any other classifier is used by its name: "
               "backbone=pytorchcv/NAME or backbone=torchvision/NAME")


def fetch(
    names: Annotated[list[str], typer.Argument(
        metavar="NAME...", help="Backbones, or studies (.yaml) whose backbones are meant.")],
) -> None:
    """Bring published weights below FER_CACHE, on a node with network.

    What is there stays, and is compared with its checksum.
    """
    from fer.config.paths import cache
    from fer.models.fetch import provide
    from fer.progress import shown
    from fer.study.inputs import files_of

    found = files_of(names)
    if not found:
        typer.echo(f"{', '.join(names)}: every run starts from random weights; nothing to fetch")
    for file, backbone in found.items():
        target = cache() / "weights" / file
        with shown(f"fetching {file}") as progress:
            done = provide(backbone, target, progress)
        typer.echo(f"{target}: {done}")


def convert(
    source: Annotated[str, typer.Argument(
        help="A checkpoint of ResidualMaskingNetwork, of the 2021 study, or a state dict.")],
    backbone: Annotated[str, typer.Option(help="Which backbone it is of.")],
    classes: Annotated[str, typer.Option(
        help="Its class names in the order of its logits, separated by commas. Default: LFW-FER's "
             "three or FER2013's seven, by their number.")] = "",
    name: Annotated[str, typer.Option("--as", help="Name of the file that is written.")] = "",
) -> None:
    """Turn a checkpoint into a weights file below FER_CACHE; nothing in it is ever run."""
    from pathlib import Path

    from fer.config.load import load_backbone
    from fer.config.paths import cache
    from fer.models.convert import convert

    file = f"{name or Path(source).stem}.safetensors"
    model, report = convert(Path(source), load_backbone(backbone),
                            tuple(classes.split(",")) if classes else (),
                            cache() / "weights" / file)
    typer.echo(f"{cache() / 'weights' / file}: {', '.join(model.classes)}; {report.whole()}\n"
               f"start from it with: backbone={backbone} recipe=lp_ft "
               f"backbone.pretrained='{{source: file, file: {file}}}'")


def export(
    name: Annotated[str, typer.Argument(
        metavar="RUN", help="A trained run: folder, name, id or pattern; or a weights file.")],
    out: Annotated[str, typer.Argument(
        help="Where to; the suffix says what: .safetensors, .pt2 (torch.export), .onnx, or .pth "
             "with the original implementation's names.")],
) -> None:
    """Write the best checkpoint of a run for others, compared with the model before it counts."""
    from pathlib import Path

    from fer.commands.weights import export_run

    model, apart = export_run(name, Path(out))
    side = model.backbone.input_size
    typer.echo(f"{out}: {model.backbone.arch} for {', '.join(model.classes)}, from uint8 pictures "
               f"of {side} x {side}; outputs differ by {apart:.1e} of the largest")


if __name__ == "__main__":
    run(list_backbones, fetch, convert, export)
