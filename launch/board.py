"""Serve TensorBoard over the runs of a study (a file `tensorboard.py` would hide the module)."""

from typing import Annotated

import typer

from fer.cli import run


def board(
    study: Annotated[str, typer.Argument(help="Name of a study that was started, or its file.")],
    port: Annotated[int, typer.Option(help="On loopback; 0: the usual one, or a free one.")] = 0,
    cluster: Annotated[str, typer.Option(help="Profile whose FER_HOME and FER_DATA hold.")] = "",
) -> None:
    """Serve curves, confusion matrices, pictures and hyper-parameters of every run of a study.

    On a login node it prints the ssh line that makes a tunnel to it. Ends with Ctrl-C.
    """
    from fer.cluster.profile import use_places_of
    from fer.commands.board import serve
    from fer.config.paths import home
    from fer.study.run_folder import Store
    from fer.study.study_folder import read_study

    use_places_of(cluster)
    serve(read_study(Store(home()), study).path, port)


if __name__ == "__main__":
    run(board)
