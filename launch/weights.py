"""Weights: list backbones, fetch published weights, convert checkpoints, export runs."""

from typing import Annotated

import typer

from fer.cli import run


def list_backbones(
    names: Annotated[list[str], typer.Argument(
        metavar="[NAME...]", help="Backbones of libraries too: timm/NAME, timm/NAME.WEIGHTS, "
             "timm/hf_hub:ORG/NAME, torchvision/NAME.WEIGHTS, pytorchcv/NAME.")
    ] = [],  # noqa: B006
) -> None:
    """List the backbones: input size, parameters, stages, and whether weights are present.

    For names of libraries also the licence and source of the weights, and others to choose from.
    """
    from fer.commands.weights import entries, sources_of, table_of
    from fer.config.paths import cache
    from fer.console import Terminal

    Terminal().print(table_of(entries(cache(), names)))
    for line in sources_of(names):
        typer.echo(line)
    typer.echo(f"weights are in {cache() / 'weights'}; any other classifier is used by its name: "
               "backbone=timm/NAME, backbone=torchvision/NAME or backbone=pytorchcv/NAME")


def fetch(
    names: Annotated[list[str], typer.Argument(
        metavar="NAME...", help="Backbones, study files (.yaml), files of the Hugging Face hub "
             "(hf:ORG/NAME[@REVISION][:FILE]; default file: model.safetensors), or URLs.")],
    sha256: Annotated[str, typer.Option(
        metavar="HEX", help="The SHA-256 that the file must have; for one file.")] = "",
    max_gb: Annotated[float, typer.Option(help="Largest file, in GB.")] = 10.0,
) -> None:
    """Download published weights to FER_CACHE, on a node with network access.

    Existing files are kept and compared with their checksums.
    """
    from fer.config.paths import cache
    from fer.config.weights_file import weights_path
    from fer.models.fetch import pinned, provide
    from fer.progress import shown
    from fer.study.starting_weights import files_of

    if any("hf_hub:" in name or name.endswith((".yaml", ".yml")) for name in names):
        from fer.models.hub_configs import fetch_configs

        fetch_configs(names, cache())
    found = files_of(names)
    if not found:
        typer.echo(f"{', '.join(names)}: every run starts from random weights; nothing to fetch")
    if sha256:
        found = pinned(found, sha256)
    for file, backbone in found.items():
        target = weights_path(cache(), file)
        with shown(f"fetching {file}") as progress:
            done = provide(backbone, target, progress, int(max_gb * 1e9))
        typer.echo(f"{target}: {done}")


def convert(
    source: Annotated[str, typer.Argument(
        help="A checkpoint of ResidualMaskingNetwork, of the 2021 study, or a state dict.")],
    backbone: Annotated[str, typer.Option(help="Backbone of the checkpoint.")],
    classes: Annotated[str, typer.Option(
        help="Class names in the order of the logits, separated by commas. Default: LFW-FER's "
             "three or FER2013's seven, by the number of logits.")] = "",
    name: Annotated[str, typer.Option("--as", help="Name of the output file.")] = "",
) -> None:
    """Convert a checkpoint to a weights file in FER_CACHE, without executing code in it."""
    from pathlib import Path

    from fer.config.blocks import load_backbone
    from fer.config.paths import cache
    from fer.models.convert import convert

    file = f"{(name or Path(source).stem).removesuffix('.safetensors')}.safetensors"
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
        help="Output file; its suffix sets the format: .safetensors, .pt2 (torch.export), .onnx, "
             "or .pth with the original implementation's names.")] = "",
    folder: Annotated[str, typer.Option(
        help="New folder to publish: weights, configuration, preprocessing, example code, and a "
             "model card in the format of the Hugging Face hub.")] = "",
    licence: Annotated[str, typer.Option(
        help="With --folder: the hub's identifier of the licence of the weights.")] = "other",
    data_licence: Annotated[list[str], typer.Option(
        metavar="SET=LICENCE", help="With --folder: the licence of a data set; repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Export the best checkpoint of a run and check the file against the model."""
    from pathlib import Path

    from fer.commands.weights import export_run, export_run_folder
    from fer.errors import CallerError

    if bool(out) == bool(folder):
        raise CallerError("give either an output file or --folder")
    if folder:
        model = export_run_folder(name, Path(folder), licence, data_licence)
        typer.echo(f"{folder}: {model.backbone.arch} for {', '.join(model.classes)}; read its "
                   "README.md before publishing it")
        return
    model, apart = export_run(name, Path(out))
    side = model.backbone.input_size
    typer.echo(f"{out}: {model.backbone.arch} for {', '.join(model.classes)}, from uint8 images "
               f"of {side} x {side}; outputs differ by {apart:.1e} of the largest")


if __name__ == "__main__":
    run(list_backbones, fetch, convert, export)
