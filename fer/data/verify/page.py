"""The findings and sample pictures of each class as one HTML file, without anything outside it."""

from pathlib import Path

from fer.data.decode import thumbnail
from fer.data.hashing import text_word
from fer.data.verify.verify import Verdict

HERE = Path(__file__).parent
SAMPLES = 12  # pictures of each class and split


def page(verdict: Verdict) -> str:
    """Return the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True,
                              undefined=StrictUndefined)
    samples = {split: [(name, *_samples(verdict, split, label))
                       for label, name in enumerate(verdict.classes)] for split in verdict.splits}
    return environment.get_template("page.html").render(verdict=verdict, samples=samples)


def _samples(verdict: Verdict, split: str, label: int) -> tuple[int, list[tuple[str, str]]]:
    """Return how many pictures a class has, and some of them, chosen by their names' hashes."""
    pictures = [picture for picture in verdict.splits[split] if picture.label == label]
    chosen = sorted(pictures, key=lambda picture: text_word(picture.id))[:SAMPLES]
    shown = [(picture.id, data) for picture in chosen if (data := thumbnail(picture.path))]
    return len(pictures), shown
