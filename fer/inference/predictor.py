"""Trained models for use: `load`, then pictures in, answers out.

The preprocessing is the checkpoint's, and pictures are decoded as for packs, so the probabilities
are those that `launch/evaluate.py` writes.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fer.data.decode import MIN_SIDE, TOO_SMALL, to_rgb
from fer.data.faces.alignment import Frame
from fer.data.pack_rows import fit
from fer.data.process_map import ProcessPool
from fer.errors import CallerError, choices
from fer.evaluate.calibration import ACCURACY, Calibration, calibrate
from fer.evaluate.ensembles import mean_of
from fer.evaluate.metrics import log_probabilities
from fer.inference.model_source import ModelSource, find_models
from fer.inference.picture_loader import Chunk, load_chunks, load_picture
from fer.inference.prediction import Prediction, by_class
from fer.models.classifier import Classifier
from fer.models.weights import load_model

BATCH = 64  # pictures in a forward pass
Picture = str | Path | Image.Image | NDArray[np.uint8]


class Predictor:
    """One model, or several whose probabilities are averaged.

    Attributes:
        names: of the models.
        networks: in eval mode, on the device.
        classes: names, in the order of the logits.
        calibration: None if there are no validation predictions to fit it on.
        device: where they are.
    """

    def __init__(self, sources: Sequence[ModelSource], networks: Sequence[Classifier],
                 calibration: Calibration | None, device: torch.device) -> None:
        self.names = tuple(source.name for source in sources)
        self.networks = tuple(networks)
        self.classes = networks[0].classes
        self.calibration = calibration
        self.device = device
        self._precisions = tuple(source.precision for source in sources)

    def __call__(self, picture: Picture) -> Prediction:
        """Return the answer for one picture: a path, a PIL image, or uint8 RGB (H, W, 3).

        Raises:
            CallerError: the picture is unusable.
        """
        name, image = _open(picture)
        pixels = {size: np.array(fit(image, size))[None] for size in self.sizes}
        return self.answers([name], Chunk(0, ("",), pixels))[0]

    def predict(self, files: Sequence[str | Path], batch_size: int = BATCH,
                workers: int | None = 0, frame: Frame | None = None,
                pool: ProcessPool | None = None) -> Iterator[Prediction]:
        """Yield the answer for each file, in order; an unusable one has a reason.

        Args:
            batch_size: pictures in a forward pass.
            workers: loader processes, which a script may use below `if __name__ == "__main__":`.
                None: one per core for many pictures.
            frame: find the largest face in each picture, and align it into this frame; None: the
                pictures are cropped as in training.
            pool: of `fer.inference.picture_loader.started_pool`, for these files and workers.
        """
        if isinstance(files, str | Path):
            files = [files]
        names = [str(file) for file in files]
        with closing(load_chunks(names, self.sizes, batch_size, workers, frame, pool)) as chunks:
            for chunk in chunks:
                yield from self.answers(names[chunk.start :], chunk)

    @property
    def notes(self) -> list[str]:
        """Lines for the user: which models are averaged, and the calibration."""
        lines = [f"mean of {', '.join(self.names)}"] if len(self.names) > 1 else []
        why = ("the models have no validation predictions in common" if len(self.names) > 1 else
               "no validation predictions")
        return [*lines, str(self.calibration) if self.calibration else f"not calibrated: {why}"]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides in pixels of the pictures that the networks take."""
        return tuple(sorted({network.backbone.input_size for network in self.networks}))

    def answers(self, files: Sequence[str], chunk: Chunk) -> list[Prediction]:
        """Return the answers for the pictures of a chunk.

        Args:
            files: the names of its pictures, and maybe more.
        """
        plain = self.probabilities(chunk.pixels)
        soft = self.calibration.probabilities(np.log(plain)) if self.calibration else None
        found, row = [], 0
        for file, reason in zip(files, chunk.reasons, strict=False):
            if reason:
                found.append(Prediction(file, self.classes, {}, {}, reason=reason))
                continue
            calibrated, sure = {}, None
            if soft is not None and self.calibration is not None:
                calibrated = by_class(self.classes, soft[row])
                sure = bool(soft[row].max() >= self.calibration.threshold)
            found.append(Prediction(file, self.classes, by_class(self.classes, plain[row]),
                                    calibrated, sure))
            row += 1
        return found

    def probabilities(self, pixels: dict[int, NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Return the mean of the models' probabilities: float64, N x C, no zeros.

        Args:
            pixels: side -> uint8 (N, side, side, 3), RGB.
        """
        total = np.zeros((len(next(iter(pixels.values()))), len(self.classes)))
        if len(total):
            for number, network in enumerate(self.networks):
                side = network.backbone.input_size
                total += np.exp(log_probabilities(self.logits(pixels[side], number)))
        return np.maximum(total / len(self.networks), np.finfo(np.float32).tiny)

    def logits(self, pixels: NDArray[np.uint8], number: int = 0) -> NDArray[np.float32]:
        """Return the logits of one of the networks: float32, N x C, as evaluation writes them."""
        images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        half = self._precisions[number] == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, half):
            logits: NDArray[np.float32] = self.networks[number](images).float().cpu().numpy()
        return logits


def load(*models: str | Path, accuracy: float | None = None, device: str = "auto") -> Predictor:
    """Return a trained model for use, or several as an ensemble.

    Args:
        models: each a run (folder, name, id, or a pattern that fits several), a weights file, or a
            folder of `launch/weights.py export --folder`.
        accuracy: wanted of the pictures that are called sure, on validation; default: 0.9. An
            exported folder has the one it was exported with.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        CallerError: no such model, one that is not of this project or damaged, models with
            different classes, or no such device.
    """
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise CallerError(f"accuracy {accuracy}: must be from 0 to 1")
    place = _device(device)
    sources = [source for name in models for source in find_models(str(name))]
    if not sources:
        raise CallerError("no model: name a run, a weights file or an exported folder")
    networks = [load_model(source.weights) for source in sources]
    first = networks[0].classes
    for source, network in zip(sources, networks, strict=True):
        if network.classes != first:
            raise CallerError(f"{sources[0].name} has classes {', '.join(first)}, {source.name} "
                              f"{', '.join(network.classes)}: an ensemble needs the same, in the "
                              "same order")
        network.to(place).requires_grad_(False)
        network.to(memory_format=torch.channels_last)  # as evaluation does
    return Predictor(sources, networks, _calibration(sources, accuracy), place)


def _device(name: str) -> torch.device:
    known = ("auto", "cpu", "cuda")
    if name not in known:
        raise CallerError(f"no device '{name}'; there are: {choices(known)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise CallerError("device 'cuda': torch sees no GPU here")
    there = torch.cuda.is_available() if name == "auto" else name == "cuda"
    return torch.device("cuda" if there else "cpu")


def _calibration(sources: Sequence[ModelSource], accuracy: float | None
                 ) -> Calibration | None:
    """Return the calibration of a model, or of an ensemble with the same validation pictures."""
    known = sources[0].calibration
    if len(sources) == 1 and known is not None:
        if accuracy not in (None, known.accuracy):
            raise CallerError(f"{sources[0].name} was exported with 'sure' at an accuracy of "
                              f"{known.accuracy:g}: export it again for {accuracy:g}")
        return known
    tables = [source.validation for source in sources if source.validation is not None]
    if len(tables) < len(sources) or not tables or not len(tables[0]):
        return None
    try:
        table = mean_of(tables) if len(tables) > 1 else tables[0]
    except ValueError:  # chosen on other pictures
        return None
    return calibrate(table.labels, table.logits, sources[0].split,
                     ACCURACY if accuracy is None else accuracy)


def _open(picture: Picture) -> tuple[str, Image.Image]:
    """Return a name and the RGB image."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise CallerError(f"a picture as an array is uint8 (H, W, 3), not {picture.dtype} "
                              f"{picture.shape}")
        if min(picture.shape[:2]) < MIN_SIDE:
            raise CallerError(TOO_SMALL)
        return "", Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        if min(picture.size) < MIN_SIDE:
            raise CallerError(TOO_SMALL)
        return "", to_rgb(ImageOps.exif_transpose(picture))  # as of a file
    if not isinstance(picture, str | Path):
        raise CallerError("one picture is a path, a PIL image or a uint8 array (H, W, 3), not "
                          f"{type(picture).__name__}; of many files: model.predict(files)")
    image, reason = load_picture(str(picture))
    if image is None:
        raise CallerError(f"{picture}: {reason}")
    return str(picture), image
