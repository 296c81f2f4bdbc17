"""Inputs of a study's runs: digests of splits and weights, drawn faces, packs.

Uses the data folder and the cache, never torch. The digests are part of the run ids.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fer.checksums import check_beside, check_pinned, xxh3_of
from fer.config.run import Data, RunConfig
from fer.config.run_id import ALL_FOLDS
from fer.config.weights_file import weights_path
from fer.data.digest import file_digests, split_digest
from fer.data.layout import Picture
from fer.data.mask_types import keep_types, types_of
from fer.data.pack import Pack, ensure_pack
from fer.data.people import people_warning
from fer.data.splits import folder_of, pictures_of
from fer.errors import CallerError, CallerLines
from fer.study.disk_space import disk_refusals_named
from fer.study.folds import digest_of_folds

Progress = Callable[[int, int], None]


class InputDigests:
    """Digests of files on disk, each computed once.

    Calling it with a configuration returns the digests that are part of the run's id.

    Args:
        root: folder of the data sets, `$FER_DATA`.
        cache: `$FER_CACHE`.
    """

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        self.cache = cache
        self._known: dict[str, str] = {}
        self._scanned: dict[str, list[Picture]] = {}
        self._people: dict[str, frozenset[str]] = {}
        self._files: dict[str, frozenset[str]] = {}
        self._sha256: dict[str, str] = {}  # weights file -> its own; empty if not computed

    def __call__(self, config: RunConfig) -> dict[str, str]:
        splits = [f"{name}/{part}" for name in config.train_sets for part in ("train", "val")]
        splits += [split for name in config.clean_sets if (split := f"{name}/train") not in splits]
        splits += config.unlabelled
        digests = {split: self.split(split, config.data) for split in splits}
        pretrained = config.backbone.pretrained
        if config.recipe.init.source == "pretrained" and pretrained and pretrained.file:
            digests["weights"] = self.weights(pretrained.file, pretrained.sha256)
        if config.loss.mask_type_weights == "balanced":
            digests["mask_types"] = self.mask_types(config.train_sets, config.data)
        if config.data.folds is not None:
            names = dict.fromkeys((*config.train_sets, *config.clean_sets))
            digests[ALL_FOLDS] = digest_of_folds(self, list(names), config.data)
        return digests

    def split(self, split: str, data: Data) -> str:
        """Return the content digest of a split; raise a `CallerError` if data is missing."""
        memo = _memo(split, data)
        if memo not in self._known:
            pictures = self.listed(split, data)
            with disk_refusals_named(self.cache):
                self._known[memo] = split_digest(pictures, self.cache)
        return self._known[memo]

    def listed(self, split: str, data: Data) -> list[Picture]:
        """Return the pictures of a split, from one scan of its folders."""
        memo = _memo(split, data)
        if memo not in self._scanned:
            self._scanned[memo] = pictures_of(split, data, self.root)
        return self._scanned[memo]

    def mask_types(self, sets: Sequence[str], data: Data) -> str:
        """Return the digest of the mask types of the training images of some sets."""
        memo = _memo(f"types of {'+'.join(sets)}", data)
        if memo not in self._known:
            types = types_of(sets, data, self.root)
            with disk_refusals_named(self.cache):
                self._known[memo] = keep_types(types, self.cache)
        return self._known[memo]

    def pictures(self, split: str, data: Data) -> int:
        """Return the number of images in a split, including unusable ones."""
        return len(self.listed(split, data))

    def people(self, split: str, data: Data) -> frozenset[str]:
        """Return the known people in a split."""
        memo = _memo(split, data)
        if memo not in self._people:
            self._people[memo] = frozenset(self._identities(split, data)) - {""}
        return self._people[memo]

    def files(self, split: str, data: Data) -> frozenset[str]:
        """Return the digests of the files of a split."""
        memo = _memo(split, data)
        if memo not in self._files:
            paths = [picture.path for picture in self.listed(split, data)]
            with disk_refusals_named(self.cache):
                found = file_digests(paths, self.cache)
            self._files[memo] = frozenset(found.values())
        return self._files[memo]

    def people_warnings(self, configs: Iterable[RunConfig], splits: Iterable[str], data: Data
                        ) -> list[str]:
        """Return a line for each validation set and test split with unknown people.

        Args:
            configs: of runs that are trained.
            splits: on which they are evaluated, of the sets in `data`.
        """
        used = {f"{name}/val": config.data for config in configs for name in config.train_sets}
        lines = [people_warning(split, self._identities(split, own))
                 for split, own in [*sorted(used.items()), *((split, data) for split in splits)]]
        return [line for line in dict.fromkeys(lines) if line]

    def _identities(self, split: str, data: Data) -> list[str]:
        return [picture.identity for picture in self.listed(split, data)]

    def weights(self, file: str, pinned: str | None = None) -> str:
        """Return the content digest of a pretrained weights file.

        Args:
            pinned: the SHA-256 that it must have.

        Raises:
            CallerError: it is missing, or does not match its checksum file or the pinned SHA-256.
        """
        path = weights_path(self.cache, file)
        if file not in self._known:
            if not path.is_file():
                raise CallerError(f"{path}: pretrained weights are missing; download them with "
                                  "launch/weights.py fetch STUDY, or copy the file there (below "
                                  "FER_CACHE), or use a recipe that starts from scratch: exclude "
                                  "the others, or grid.recipe='[scratch]'")
            self._sha256[file] = check_beside(path)
            self._known[file] = xxh3_of(path)
        if pinned is not None:
            check_pinned(path, pinned, self._sha256[file])
            self._sha256[file] = pinned
        return self._known[file]


def _memo(split: str, data: Data) -> str:
    return f"{split} {data.model_dump_json(exclude={'drawn'})}"


SOURCES = {
    "LFW-FER": "github.com/KDDI-AI-Center/LFW-emotion-dataset",
    "M-LFW-FER": "github.com/KDDI-AI-Center/LFW-emotion-dataset",
    "MANY-FER": "python launch/data.py mask LFW-FER --as MANY-FER --styles all",
    "REAL-FER": "your own images of people wearing real masks, in "
                "REAL-FER/test/negative, neutral and positive",
    "FACES": "your own images of unmasked faces: "
             "python launch/data.py add FOLDER --as FACES --split train",
    "M-FACES": "python launch/data.py mask FACES --as M-FACES --landmarks cropped",
}
"""Sources of the data sets of the 2021 study and of sweeps/laptop.yaml, by folder."""


def require_sets(names: Iterable[str], data: Data, root: Path) -> None:
    """Check that the required data sets of the 2021 study exist, and list all that are missing.

    Other sets are not checked: `InputDigests.split` names the first that is missing.

    Args:
        names: names of the required data sets.
        root: folder of the data sets, `$FER_DATA`.

    Raises:
        CallerError: three lines: what to download, where to put it, and what needs no data.
    """
    known = [data.sets[name].folder for name in sorted(set(names) & data.sets.keys())
             if data.sets[name].folder in SOURCES and not folder_of(name, data, root).is_dir()]
    if not known:
        return
    sources: dict[str, list[str]] = {}
    for folder in known:
        sources.setdefault(SOURCES[folder], []).append(folder)
    needed = "; ".join(f"{' and '.join(folders)} ({source})"
                       for source, folders in sources.items())
    raise CallerLines(
        f"missing data: {needed}\n"
        f"unzip {'each' if len(known) > 1 else 'it'} below FER_DATA, currently {root}: "
        f"{', '.join(str(root / folder) for folder in known)}\n"
        "to run the same on drawn faces, without data: python launch/sweep.py sweeps/demo.yaml")


def draw_missing_faces(data: Data, root: Path, names: Iterable[str],
                       progress: Progress | None = None) -> bool:
    """Generate the drawn data sets below `root` if the configuration has any.

    Args:
        names: names of the required data sets; the set with many masks is drawn only if required.

    Returns:
        whether anything was drawn.
    """
    if data.drawn is None:
        return False
    from fer.data.synthetic.sets import (
        DRAWN_FOLDER,
        MANY_FOLDER,
        write_drawn_sets,
        write_many_masks,
    )

    drawn = write_drawn_sets(root / DRAWN_FOLDER, data.drawn, progress=progress)
    if MANY_FOLDER in _folders(names, data):
        drawn |= write_many_masks(root, data.drawn, progress)
    return drawn


def drawn_sets_missing(data: Data, root: Path, names: Iterable[str]) -> bool:
    """Return whether one of these sets is going to be drawn; `names` as above."""
    if data.drawn is None:
        return False
    from fer.data.synthetic.sets import DRAWN_FOLDER, MANY_FOLDER, MARKER

    wanted = {folder for folder in _folders(names, data) if folder.startswith(f"{DRAWN_FOLDER}/")}
    there = (root / DRAWN_FOLDER / MARKER).is_file()
    return (bool(wanted) and not there) or (MANY_FOLDER in wanted
                                          and not (root / MANY_FOLDER).is_dir())


def _folders(names: Iterable[str], data: Data) -> set[str]:
    return {data.sets[name].folder for name in names if name in data.sets}


def packs_of(
    configs: Iterable[RunConfig], evaluate_on: Iterable[str], data: Data, contents: InputDigests
) -> list[tuple[str, Data, int, str]]:
    """Return (split, data, size, digest) of every pack that the runs read, without duplicates."""
    wanted: dict[tuple[str, int, str], Data] = {}
    splits = list(evaluate_on)
    for config in configs:
        assert config.inputs is not None
        size = config.backbone.input_size
        for split, digest in config.inputs.splits.items():
            wanted[split, size, digest] = config.data
        for split in splits:
            wanted[split, size, contents.split(split, data)] = data
    return [(split, data, size, digest) for (split, size, digest), data in wanted.items()]


def build_pack(
    split: str, data: Data, size: int, digest: str, contents: InputDigests,
    progress: Progress | None = None,
) -> Pack:
    """Open the pack of a split, building it if missing."""
    return ensure_pack(split, data, contents.root, size, contents.cache, digest, progress)
