"""Random people, expressions, looks and masks of drawn faces: functions of the seed."""

import math
import re
from dataclasses import dataclass, fields

import numpy as np

from fer.data.synthetic.parameters import RGB, STYLES, Expression, Face, Look, Mask, Person

CLASSES = ("negative", "neutral", "positive")
ORIENTATIONS = ("frontal", "left", "right", "up", "down")
REAL = "real_test"
BELOW_NOSE = 0.3  # position of a mask's upper edge beyond which the nose is exposed


Rng = np.random.Generator


@dataclass(frozen=True)
class _Set:
    """One split: its field in `DrawnFaces`, its number in the random key and its class mix."""

    name: str
    key: int
    folder: str
    mix: tuple[int, int, int]  # pictures per class in each block of sum(mix)


SETS = (
    _Set("lfw_train", 0, "LFW-FER/train", (2, 9, 14)),  # 8, 36 and 56 %, as in LFW-FER
    _Set("lfw_eval", 1, "LFW-FER/eval", (2, 9, 14)),
    _Set(REAL, 2, "REAL-FER/test", (1, 1, 1)),
    _Set("people_train", 3, "PEOPLE-FER/train", (1, 1, 1)),
)
BY_NAME = {entry.name: entry for entry in SETS}


@dataclass(frozen=True)
class Shot:
    """One picture to draw: set, number of the person and of the picture (from 0), class."""

    set_name: str
    person: int
    picture: int
    label: int


def plan_shots(seed: int, set_name: str, count: int) -> list[Shot]:
    """Return the first `count` shots of a set; a shorter plan is a prefix of a longer one."""
    entry = BY_NAME[set_name]
    block = np.repeat(np.arange(3), entry.mix)
    shots: list[Shot] = []
    labels: list[int] = []
    person = 0
    while len(shots) < count:
        often = min(8, int(_rng(seed, entry.key, person, 0).geometric(0.42)))
        for picture in range(often):
            if not labels:
                key = len(shots) // len(block)
                labels = _rng(seed, entry.key, key, 0, 7).permutation(block).tolist()
            shots.append(Shot(set_name, person, picture, labels.pop()))
        person += 1
    return shots[:count]


def _rng(*key: int) -> Rng:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


_NAMES = """
Ada Alba Amos Anouk Arlo Bela Bruno Cara Celia Cosmo Dalia Dario Edda Elio Enzo Esme Fabia Felix
Flora Gala Greta Hana Hugo Ilse Imre Ines Ivo Jana Jonas Juno Kaia Kofi Lars Leda Lena Luca Mara
Milo Mina Nadia Nilo Noor Odile Olaf Omar Petra Quin Rafa Rhea Rosa Sami Selma Sven Tara Theo
Tilda Ugo Vera Wim Xenia Yara Yusuf Zeno Zora;
B Br D Dr F Fl G Gr H K Kr L M N P Pr R S St T Tr V W Z;
b d g l m n r s t v z br dr lm nd rn st;
bar dek fell gard hov kin lund marr nok quist rel sing tov vand wick zen"""
_FIRST, _ONSET, _MIDDLE, _END = (words.split() for words in _NAMES.split(";"))
_SYLLABLES = (_ONSET, "aeiou", _MIDDLE, "aeiou", _END)
_SURNAMES = math.prod(map(len, _SYLLABLES))
_NAME = re.compile("(?P<first>[A-Z][a-z]+)_" + "".join(
    f"({'|'.join(table)})" for table in _SYLLABLES))


def person_name(set_name: str, person: int) -> str:
    """Return the generated First_Last of a person; surnames are unique over all sets."""
    number = (4 * person + BY_NAME[set_name].key) * 7919 % _SURNAMES
    first = _first_name(number)
    parts = []
    for table in reversed(_SYLLABLES):
        number, index = divmod(number, len(table))
        parts.append(table[index])
    return first + "_" + "".join(reversed(parts))


def _first_name(number: int) -> str:
    return _FIRST[(number * 2_654_435_761 >> 16) % len(_FIRST)]  # hashed: independent of surname


def is_generated(name: str) -> bool:
    """Return whether `person_name` generates this name; of other names hardly one in a million."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    number = 0
    for table, part in zip(_SYLLABLES, match.groups()[1:], strict=True):
        number = number * len(table) + table.index(part)
    return match["first"] == _first_name(number)


_SKINS = ((255, 226, 205), (250, 208, 178), (238, 190, 154), (222, 168, 126), (196, 140, 98),
          (160, 106, 72), (124, 80, 54), (92, 60, 44))  # fmt: skip
_HAIRS = ((26, 22, 24), (44, 32, 28), (74, 48, 34), (108, 70, 42), (150, 100, 54),
          (205, 160, 92), (228, 196, 134), (150, 62, 34))  # fmt: skip
_IRISES = ((66, 42, 28), (92, 60, 34), (112, 84, 46), (86, 112, 78), (84, 128, 150),
           (110, 142, 172), (118, 124, 128))  # fmt: skip


def _blend(a: RGB, b: RGB, t: float) -> RGB:
    r, g, b_ = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return r, g, b_


def _any_colour(rng: Rng, vivid: float = 0.35) -> RGB:
    """Return a random hue and brightness; `vivid` is the saturation, 0 grey, 1 the maximum."""
    value, depth = rng.uniform(40, 225), rng.uniform(0.2, 1) * vivid
    r, g, b = np.rint(value * (1 - depth * rng.dirichlet((0.6, 0.6, 0.6)))).astype(int).tolist()
    return r, g, b


def sample_person(seed: int, set_name: str, person: int) -> Person:
    """Return the constant features of a person."""
    rng = _rng(seed, BY_NAME[set_name].key, person, 1)
    tone = rng.uniform(0, len(_SKINS) - 1.001)
    skin = _blend(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1)
    age = float(rng.beta(1.3, 2.2))
    hair = _HAIRS[int(rng.integers(0, 3 if tone > 4 else len(_HAIRS)))]
    if age > 0.55 and rng.random() < 0.7:
        hair = _blend(hair, (196, 196, 200), rng.uniform(0.5, 1))
    iris = _IRISES[int(rng.integers(0, 3 if tone > 3.5 else len(_IRISES)))]
    style = STYLES[int(rng.integers(0, len(STYLES)))]
    manly = style in ("short", "side", "receding", "buzz", "bald") and rng.random() < 0.8
    return Person(
        skin=skin, hair=hair, iris=iris,
        lip=_blend(skin, (190, 40, 60) if not manly else (170, 80, 70), rng.uniform(0.35, 0.6)),
        length=rng.uniform(0.93, 1.08), jaw=rng.uniform(0.76, 0.88), chin=rng.uniform(0.34, 0.52),
        eye=rng.uniform(0.88, 1.15), eye_gap=rng.uniform(0.4, 0.45), slant=rng.normal(0, 0.014),
        brow=rng.uniform(0.8, 1.25) + 0.25 * manly, brow_tilt=rng.normal(0, 0.04),
        brow_height=rng.uniform(-0.03, 0.05), nose=rng.uniform(0.85, 1.2),
        mouth=rng.uniform(0.88, 1.12), resting_corner=rng.normal(0, 0.1),
        lip_full=rng.uniform(0.7, 1.25), style=style,
        beard=float(rng.uniform(0.1, 1)) if manly and rng.random() < 0.45 else 0.0,
        age=age, glasses=bool(rng.random() < 0.14),
    )  # fmt: skip


# One row per variant of a class, in the order of Expression's fields:
# inner, outer, furrow, lid, squint, cheek, corner, wide, gap, square
_WAYS: tuple[tuple[tuple[float, ...], ...], ...] = (
    (
        (-0.9, 0.1, 1.0, -0.4, 0.4, 0.0, -0.9, -0.1, 0.0, 0.0),  # anger
        (-0.9, 0.3, 1.0, 0.1, 0.45, 0.2, -0.8, 0.2, 0.55, 1.0),  # snarl
        (0.9, -0.5, 0.5, -0.45, 0.1, 0.0, -1.0, -0.1, 0.0, 0.0),  # sadness
    ),
    (
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),  # calm
        (0.1, 0.1, 0.0, 0.1, 0.0, 0.0, 0.0, -0.1, 0.15, 0.0),  # parted lips
        (0.2, 0.25, 0.0, 0.25, 0.0, 0.0, -0.05, 0.0, 0.0, 0.0),  # attentive
    ),
    (
        (0.1, 0.15, 0.0, -0.2, 0.6, 0.7, 0.9, 0.3, 0.15, 0.0),  # smile
        (0.1, 0.2, 0.0, -0.25, 0.75, 0.9, 1.0, 0.5, 0.4, 0.0),  # grin
        (0.2, 0.3, 0.0, -0.4, 0.95, 1.0, 1.0, 0.5, 0.9, 0.0),  # laugh
    ),
)
_WOBBLE = (0.18, 0.17, 0.12, 0.2, 0.14, 0.08, 0.12, 0.1, 0.04, 0.0)  # spread between pictures
_NEVER_BELOW_0 = (2, 4, 5, 8, 9)


def _sample_expression(rng: Rng, label: int, weakest: tuple[float, float]) -> Expression:
    """Return an expression of a class with a strength from `weakest` (upper, lower face) to 1."""
    ways = _WAYS[label]
    way = np.array(ways[int(rng.integers(len(ways)))])
    upper, lower = np.array(weakest) + rng.beta(2.0, 1.6, 2) * (1 - np.array(weakest))
    strength = np.array([upper] * 5 + [(upper + lower) / 2] + [lower] * 4)
    moved = way * strength + rng.normal(0, 1, 10) * _WOBBLE
    moved[list(_NEVER_BELOW_0)] = np.maximum(moved[list(_NEVER_BELOW_0)], 0)
    names = [field.name for field in fields(Expression)]
    return Expression(**dict(zip(names, moved.tolist(), strict=True)))


_TURNS = {"frontal": (0, 0), "left": (-24, 0), "right": (24, 0), "up": (0, 15), "down": (0, -15)}


def _sample_look(rng: Rng, wild: float) -> Look:
    """Return camera, light and scene of one picture; `wild` 0 is a press photo, 1 a phone photo."""
    name = ORIENTATIONS[int(rng.choice(5, p=(0.4, 0.18, 0.18, 0.12, 0.12)))]
    yaw, pitch = np.array(_TURNS[name]) * rng.uniform(0.75, 1.15) + rng.normal(0, 2.5, 2)
    first = _any_colour(rng)
    warm = rng.normal(0.01, 0.025 + 0.05 * wild)
    return Look(
        orientation=name, yaw=float(yaw), pitch=float(pitch), roll=rng.normal(0, 2),
        frame=rng.normal(0, 6), gaze=rng.uniform(-1, 1),
        shift=(rng.normal(0, 5), rng.normal(0, 5)), zoom=rng.uniform(0.95, 1.06),
        backdrop=(first, _blend(first, _any_colour(rng), rng.uniform(0.2, 1))),
        cloth=_any_colour(rng, 0.8), light=rng.uniform(-1, 1) * (0.7 + 0.5 * wild),
        gain=rng.uniform(0.85 - 0.3 * wild, 1.12 + 0.08 * wild),
        cast=(1 + warm, 1.0, 1 - warm), contrast=rng.uniform(0.88 - 0.15 * wild, 1.1),
        blur=float(rng.random() < 0.25 + 0.3 * wild) * rng.uniform(0.25, 0.8 + 0.9 * wild),
        noise=float(rng.random() < 0.3 + 0.4 * wild) * rng.uniform(2, 5 + 4 * wild),
        quality=int(rng.integers(72 - int(25 * wild), 94)), grain=int(rng.integers(1 << 31)),
    )  # fmt: skip


_SURGICAL = ((150, 196, 222), (176, 214, 226), (238, 242, 244), (238, 242, 244), (240, 190, 204),
             (130, 190, 180))  # fmt: skip
_DARK = ((24, 24, 28), (40, 42, 52), (20, 30, 60), (70, 24, 34))


def _sample_mask(rng: Rng) -> Mask:
    """Return one realistic mask."""
    kind = str(rng.choice(["surgical", "cloth", "patterned", "cone", "bandana"],
                          p=(0.42, 0.18, 0.16, 0.16, 0.08)))  # fmt: skip
    top = rng.uniform(0.4, 0.5) if rng.random() < 0.12 else rng.uniform(0.0, 0.14)
    colour, pattern, second = _any_colour(rng, 0.9), "plain", _any_colour(rng, 0.9)
    if kind == "surgical":
        colour = _SURGICAL[int(rng.integers(len(_SURGICAL)))]
    elif kind == "cone":
        colour = ((236, 236, 232), (40, 40, 44), (206, 210, 214))[int(rng.integers(3))]
        pattern, second = ("valve", _any_colour(rng)) if rng.random() < 0.4 else ("plain", second)
    elif kind == "cloth" and rng.random() < 0.6:
        colour = _DARK[int(rng.integers(len(_DARK)))]
    elif kind in ("patterned", "bandana"):
        pattern = str(rng.choice(["stripes", "dots", "checks"]))
    return Mask(
        kind="cloth" if kind == "patterned" else kind, colour=colour, second=second,
        pattern=pattern, top=top, folds=rng.uniform(0.2, 1), behind_head=kind == "cone",
        strap=(236, 236, 236) if rng.random() < 0.6 else _blend(colour, (30, 30, 30), 0.5),
    )  # fmt: skip


def sample_face(seed: int, shot: Shot) -> Face:
    """Return the parameters of one picture; only faces of `real_test` wear masks."""
    real = shot.set_name == REAL
    rng = _rng(seed, BY_NAME[shot.set_name].key, shot.person, 2, shot.picture)
    return Face(
        person=sample_person(seed, shot.set_name, shot.person),
        expression=_sample_expression(rng, shot.label, weakest=(0.52, 0.8)),
        look=_sample_look(rng, wild=0.5 if real else 0.0),
        mask=_sample_mask(rng) if real else None,
    )
