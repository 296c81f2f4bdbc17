"""Grad-CAM of the best models of a study on faces without and with a mask.

    python -m fer.train.grad_cam STUDY

Writes `attention/` into the run folder of the best run of each training set: a strip of four
pictures per face, and `index.json`, written last. The report embeds them. The faces depend only on
their names, so the choice does not depend on any model.
"""

import shutil
import sys
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from fer.atomic_io import building_folder, write_json
from fer.config.paths import cache, data_root, home
from fer.data.paired_batches import partners_in
from fer.data.pixels import Source
from fer.errors import CallerError
from fer.models.classifier import Classifier
from fer.study.grad_cam_runs import FOLDER, SCHEMA, Best, best_runs, not_drawn, twin_splits
from fer.study.inputs import InputDigests
from fer.study.run_folder import Store
from fer.study.study_folder import read_study
from fer.train.distributed import Session, open_session
from fer.train.setup import source, trained_model

PER_CLASS = 2  # faces
SIDE = 112  # pixels of one picture of a strip
QUALITY = 88
LEAST_SIDE = 2  # pixels of the smallest feature map with spatial resolution


def draw_attention(name: str) -> list[str]:
    """Draw the missing strips of a study; return one line for each run drawn.

    Raises:
        CallerError: the study has no gap whose synthetic set is a masked copy, or was never
            started.
    """
    store = Store(home())
    study = read_study(store, name)
    splits = twin_splits(study.study, study.data)
    done = []
    for best in not_drawn(best_runs(study, store), splits):
        config = best.folder.config
        with open_session(config.compute) as session:
            contents = InputDigests(data_root(), cache())
            clean, masked = (source(config, study.data, {
                split: contents.split(split, study.data)}, session) for split in splits)
            _draw(best, session, clean, masked, splits)
        done.append(f"{best.folder.name}: drawn")
    return done


def _draw(best: Best, session: Session, clean: Source, masked: Source,
          splits: tuple[str, str]) -> None:
    """Write the strips of one run."""
    model = trained_model(best.folder, session)
    chosen = faces(masked, len(model.classes))
    images = [one.gather(rows).permute(0, 3, 1, 2) for one, rows in (
        (clean, partners_in(clean, masked)[chosen]), (masked, chosen))]
    maps = [look(model, some) for some in images]
    labels = masked.labels_of(chosen)
    ids = masked.index().column("sample_id").to_pylist()
    target = best.folder.path / FOLDER
    shutil.rmtree(target, ignore_errors=True)  # the gap may use another set by now
    with building_folder(target) as folder:
        looks = []
        for row, number in enumerate(chosen):
            file = f"{row:02d}.jpg"
            strip = [part for seen, (heat, _) in zip(images, maps, strict=True)
                     for part in (_picture(seen[row]), _overlay(seen[row], heat[row]))]
            _join(strip).save(folder / file, quality=QUALITY)
            unmasked, with_mask = (model.classes[answers[row]] for _, answers in maps)
            looks.append({"sample_id": ids[number], "label": model.classes[labels[row]],
                          "unmasked": unmasked, "masked": with_mask, "file": file})
        write_json(folder / "index.json", {"schema": SCHEMA, "why": best.why,
                                           "splits": list(splits), "looks": looks})


def faces(source: Source, classes: int) -> NDArray[np.int64]:
    """Return the indices of the faces to show: the first of each class, ordered by uid."""
    numbers = np.arange(source.n)
    labels, order = source.labels_of(numbers), np.argsort(source.uids_of(numbers))
    return np.concatenate([order[labels[order] == name][:PER_CLASS] for name in range(classes)])


def look(model: Classifier, images: torch.Tensor) -> tuple[NDArray[np.float32], list[int]]:
    """Return Grad-CAM heat maps, float32 0…1 (N x H x W), and the predicted classes.

    Args:
        images: uint8, N x 3 x H x W.
    """
    from pytorch_grad_cam import GradCAM

    model.eval().requires_grad_(True)
    with GradCAM(model, target_layers=[last_map(model, images[:1])]) as cam:
        heat = cam(images.float() / 255, targets=None)  # None: the predicted class
        answers = cam.outputs.argmax(1).tolist()
    return heat, answers


def last_map(model: Classifier, picture: torch.Tensor) -> nn.Module:
    """Return the last stage before the head whose output has spatial resolution."""
    seen: dict[nn.Module, torch.Tensor] = {}
    body = [module for stage, modules in model.stages.items() if stage != "head"
            for module in modules]
    handles = [module.register_forward_hook(lambda module, _, out: seen.update({module: out}))
               for module in body]
    try:
        with torch.inference_mode():
            model(picture)
    finally:
        for handle in handles:
            handle.remove()
    found = [module for module in body if module in seen and seen[module].dim() == 4
             and min(seen[module].shape[-2:]) >= LEAST_SIDE]
    tokens = any(module in seen and seen[module].dim() == 3 for module in body)
    if not found or tokens:
        raise CallerError(f"{model.backbone.name}: "
                          f"{'it works on tokens' if tokens else 'no stage has feature maps'}, so "
                          "Grad-CAM does not apply")
    return found[-1]


def _picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).cpu().numpy())


def _overlay(image: torch.Tensor, heat: NDArray[np.float32]) -> Image.Image:
    import cv2
    from pytorch_grad_cam.utils.image import show_cam_on_image

    floats = image.permute(1, 2, 0).float().cpu().numpy() / 255
    grey = np.repeat(floats.mean(-1, keepdims=True), 3, -1)
    return Image.fromarray(show_cam_on_image(grey, heat, use_rgb=True,
                                             colormap=cv2.COLORMAP_VIRIDIS))


def _join(parts: Sequence[Image.Image]) -> Image.Image:
    strip = Image.new("RGB", (SIDE * len(parts), SIDE))
    for place, part in enumerate(parts):
        strip.paste(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR), (SIDE * place, 0))
    return strip


if __name__ == "__main__":
    for line in draw_attention(sys.argv[1]):
        print(line)
