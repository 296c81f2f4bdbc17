"""TensorBoard for the runs of a study (a file `tensorboard.py` would shadow the module)."""

from typing import Annotated

import typer

from fer.cli import run


def board(
    study: Annotated[str, typer.Argument(help="Name of a started study, or its file.")],
    port: Annotated[int, typer.Option(help="Port on loopback; 0: the default or a free one.")] = 0,
    cluster: Annotated[str, typer.Option(help="Profile whose FER_HOME and FER_DATA apply.")] = "",
) -> None:
    """Serve curves, confusion matrices, images and hyper-parameters of every run of a study.

    On a login node, prints the ssh command for a tunnel. Press Ctrl-C to stop.
    """
    from fer.cluster.profile_files import use_places_of
    from fer.commands.board import serve
    from fer.config.paths import home
    from fer.study.run_folder import Store
    from fer.study.study_folder import read_study

    use_places_of(cluster)
    serve(read_study(Store(home()), study).path, port)


if __name__ == "__main__":
    run(board)
