"""The best checkpoint of a run, for others: what `launch/weights.py export` does."""

from pathlib import Path

from fer.commands.evaluate import find_runs
from fer.config.paths import home
from fer.errors import CallerError
from fer.models.classifier import Classifier
from fer.models.export import export
from fer.models.weights import load_model
from fer.study.run_folder import Store
from fer.train.checkpoint import Checkpoints


def export_run(name: str, path: Path) -> tuple[Classifier, float]:
    """Write the model of a run; returns it, and how far the file's outputs are from its own.

    Args:
        name: of one trained run, or a weights file of ours.
        path: its suffix says the format, as for `fer.models.export.export`.

    Raises:
        CallerError: no such run, more than one, or what `export` refuses.
    """
    if Path(name).is_file():
        weights = Path(name)
    else:
        folders = find_runs(Store(home()), [name])
        if len(folders) > 1:
            raise CallerError(f"'{name}' fits {len(folders)} runs, such as {folders[0].name} and "
                              f"{folders[1].name}; name one")
        weights = Checkpoints(folders[0].path / "checkpoints", keep=2).best() / "model.safetensors"
    model = load_model(weights)
    return model, export(model, path)
