"""Where a weights file comes from, and where it lies below `$FER_CACHE`; imports no torch.

The key `file` of `backbone.pretrained` names a file that is there, one of the Hugging Face hub
(`hf:ORG/NAME[@REVISION][:FILE]`) or one at a URL. Downloading is in `fer.models.fetch`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

HUB = "hf:"
DEFAULT_REVISION = "main"
DEFAULT_FILE = "model.safetensors"  # which every repository of timm has
_PART = r"[A-Za-z0-9][\w.-]*"
_HUB = re.compile(rf"hf:(?P<repository>{_PART}/{_PART})(@(?P<revision>[\w.-][\w./-]*))?"
                  r"(:(?P<file>[\w.+-][\w./+ =-]*))?", re.ASCII)
_URL = re.compile(r"https?://(?P<path>[\w.-]+(:\d+)?(/[\w.%+~=-]+)+)", re.ASCII)


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the hub.

    Attributes:
        repository: `ORG/NAME`.
        revision: a branch, a tag, or a commit, which pins the file.
        file: its path in the repository.
    """

    repository: str
    revision: str = DEFAULT_REVISION
    file: str = DEFAULT_FILE

    def __str__(self) -> str:
        return f"{HUB}{self.repository}@{self.revision}:{self.file}"


def is_hub(file: str) -> bool:
    """Return whether a weights file is one of the hub."""
    return file.startswith(HUB)


def is_url(file: str) -> bool:
    """Return whether a weights file is one at a URL."""
    return file.startswith(("https://", "http://"))


def hub_file(file: str) -> HubFile:
    """Return the parts of `hf:ORG/NAME[@REVISION][:FILE]`.

    Raises:
        ValueError: another form.
    """
    found = _HUB.fullmatch(file)
    parts = {key: value for key, value in found.groupdict().items() if value} if found else {}
    if not parts or ".." in file or "//" in file:
        raise ValueError(f"'{file}' is not hf:ORG/NAME[@REVISION][:FILE], such as "
                         "hf:timm/resnet18.a1_in1k or hf:org/name@v1:weights/model.pt")
    return HubFile(**parts)


def check_file(file: str) -> str:
    """Return `file`; raise a `ValueError` if it is a malformed name of the hub or URL."""
    if is_hub(file):
        hub_file(file)
    if is_url(file) and (not _URL.fullmatch(file) or ".." in file):
        raise ValueError(f"'{file}' is not the plain URL of a file (no query)")
    return file


def weights_path(cache: Path, file: str) -> Path:
    """Return the path of a weights file.

    Args:
        cache: `$FER_CACHE`; files lie below its folder `weights`. An absolute path stays as it is.
        file: as in `backbone.pretrained.file`.
    """
    if is_hub(file):
        one = hub_file(file)
        revision = one.revision.replace("/", "--")
        return cache / "weights" / "hf" / one.repository / revision / one.file
    if found := _URL.fullmatch(file):
        return cache / "weights" / "url" / found["path"].replace(":", "-")
    return cache / "weights" / file
