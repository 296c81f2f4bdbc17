"""Names in figures and pictures that the fonts at hand can draw, so that no letter becomes a box.

Matplotlib's own font has Latin, Greek, Cyrillic, Arabic and Hebrew letters. For others an
installed font is taken that has them; without one, a word becomes a number, and the page has the
key.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from PIL import ImageFont

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.figure import Figure

BASE = "DejaVu Sans"  # Matplotlib's own
LIKELY = re.compile(r"CJK|Han|Noto|Unicode|Gothic|Hei|Ming|Song|Batang|Nanum|Fallback", re.I)
NO_GLYPHS = "LastResort"  # fonts that have boxes for all letters

Key = dict[str, str]  # a word that no font can draw -> what stands for it


def make_legible(figure: "Figure", key: Key) -> None:
    """Give the texts of a figure a font that has their letters, or replace their words.

    Args:
        key: is extended by the words that were replaced; the same for all figures of a page.
    """
    from matplotlib.text import Text

    texts = [one for one in figure.findobj(Text) if isinstance(one, Text)]
    missing = _missing("".join(one.get_text() for one in texts))
    if not missing:
        return
    font = font_with(frozenset(missing))
    for one in texts:
        if not _missing(one.get_text()):
            continue
        if font:
            one.set_fontfamily([BASE, font])
        else:
            one.set_text(_numbered(one.get_text(), key))


def pen_font(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Return a font of Pillow that has the letters of a text, and the text.

    Where no font has them, the letters are escaped.
    """
    if all(ord(letter) < 256 for letter in text):
        return text, ImageFont.load_default(size)
    from matplotlib.font_manager import findfont

    missing = _missing(text)
    name = font_with(frozenset(missing)) if missing else BASE
    if not name:
        return text.encode("latin-1", "backslashreplace").decode("latin-1"), pen_font("", size)[1]
    return text, ImageFont.truetype(findfont(name), size)


def _numbered(text: str, key: Key) -> str:
    def number(word: re.Match[str]) -> str:
        if not _missing(word[0]):
            return word[0]
        return key.setdefault(word[0], f"[{len(key) + 1}]")

    return re.sub(r"[^\s(),+·…]+", number, text)


def _missing(text: str) -> set[str]:
    """Return the letters of a text that Matplotlib's own font has not."""
    return {letter for letter in text if ord(letter) > 126 and letter not in _base_letters()}


@cache
def _base_letters() -> frozenset[str]:
    from matplotlib.font_manager import findfont

    return frozenset(map(chr, _letters(findfont(BASE)))) | {"\n"}


def _letters(path: str) -> Iterable[int]:
    from matplotlib.ft2font import FT2Font

    return FT2Font(path).get_charmap()


@cache
def font_with(letters: frozenset[str]) -> str:
    """Return the name of an installed font that has all letters; empty if there is none."""
    from matplotlib.font_manager import fontManager

    wanted = frozenset(map(ord, letters))
    fonts = [one for one in fontManager.ttflist if one.name != BASE
             and NO_GLYPHS not in one.name.replace(" ", "")]
    for one in sorted(fonts, key=lambda one: (not LIKELY.search(one.name), one.name, one.fname)):
        try:
            if wanted.issubset(_letters(one.fname)):
                return one.name
        except (OSError, RuntimeError):  # a damaged font, or one that was removed
            continue
    return ""
