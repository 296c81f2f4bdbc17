"""Training of one configuration in this process, for debugging and for your own images."""

from typing import Annotated, Optional

import typer

from fer.cli import run


def train(
    config: Annotated[str, typer.Argument(help="A configuration, such as configs/drawn.yaml, or "
                                               "the config.yaml of a run folder.")],
    overrides: Annotated[Optional[list[str]], typer.Argument(  # noqa: UP045 - typer reads it
        metavar="[key=value ...]",
        help="Such as train_on=mlfw recipe=lp_ft optim.lr=0.001 evaluate_on='[real/test]'.",
    )] = None,
    debug: Annotated[bool, typer.Option("--debug", help="A few batches, in a separate folder.")]
    = False,
    explained: Annotated[bool, typer.Option("--explain", help="Print what each phase trains, "
                                            "learning rates and parameter counts; do not train.")]
    = False,
) -> None:
    """Train one configuration, after the runs it starts from; evaluate it on `evaluate_on`.

    Uses one device, or is one rank if RANK and WORLD_SIZE are set (torchrun, accelerate).
    """
    from fer.config.load import refuse_other_kind

    refuse_other_kind(config)  # before torch is imported, which takes seconds
    if explained:
        from rich.console import Console

        from fer.config.load import load_run
        from fer.config.yaml_io import parse_overrides
        from fer.transfer.explain import explain

        for part in explain(load_run(config, parse_overrides(overrides or []))):
            Console().print(part, markup=False, highlight=False)
        return
    from fer.commands.train import train_single

    train_single(config, overrides or [], debug)


if __name__ == "__main__":
    run(train)
