"""Published weights onto this machine: for login nodes, before jobs start without a network.

What is published where is asked of pytorchcv and torchvision; ResMasking starts from torchvision's
ResNets, as upstream. A download goes on where it was cut off, counts only with its published
checksum, and appears whole or not at all. Loading weights is `fer.models.weights`.
"""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from fer.atomic_io import replacing
from fer.checksums import beside, check_beside, sha_of, write_beside
from fer.config.load import block_names, load_backbone
from fer.config.run import Backbone
from fer.errors import CallerError

CHUNK = 1 << 20  # bytes
SECONDS = 30  # without an answer
RESNETS = {"resmasking": "resnet34", "resmasking_dropout1": "resnet34",
           "resmasking_dropout2": "resnet34", "resmasking50_dropout1": "resnet50"}
FROM_PYTORCHCV = ("cbam_resnet50", "vgg19", "mobilenet_w1")  # whose `arch` is their own name

Progress = Callable[[int, int], None]  # called with (bytes here, bytes in all)


@dataclass(frozen=True)
class Published:
    """A weights file on the net.

    Attributes:
        url: of the file, or of a zip that holds it.
        algorithm: of the checksum: sha1 or sha256.
        checksum: hexadecimal, of the unzipped file; perhaps only its first digits.
    """

    url: str
    algorithm: str
    checksum: str


def published(backbone: Backbone) -> Published:
    """Return where a backbone's weights for ImageNet are.

    Raises:
        CallerError: nobody publishes any, or it starts from another file than its name says.
    """
    if not _is_usual(backbone):
        file = backbone.pretrained.file if backbone.pretrained else None
        raise CallerError(f"weights file {file} of backbone '{backbone.name}': nobody publishes "
                          "it; put it there (launch/weights.py convert makes one of a checkpoint)")
    library, _, model = backbone.arch.rpartition("/")
    if backbone.arch in RESNETS:
        library, model = "torchvision", RESNETS[backbone.arch]
    found = (_of_torchvision(model) if library == "torchvision" else
             _of_pytorchcv(model) if library == "pytorchcv" or model in FROM_PYTORCHCV else None)
    if found is None:
        raise CallerError(f"backbone '{backbone.name}': no weights are published for "
                          f"'{backbone.arch}'; train it with recipe=scratch, or bring a file")
    return found


def _is_usual(backbone: Backbone) -> bool:
    """Whether a backbone starts from the file of its name, and not from one that a study names."""
    name = backbone.name if backbone.name in block_names("backbone") else backbone.arch
    known = name == backbone.name or "/" in name
    return known and load_backbone(name).pretrained == backbone.pretrained


def _of_pytorchcv(model: str) -> Published | None:
    from pytorchcv.models.common import model_store

    try:
        error, sha1, release = model_store.get_model_name_suffix_data(model)
    except ValueError:
        return None
    file = f"{model}-{error}-{sha1[:8]}.pth.zip"
    return Published(f"{model_store.imgclsmob_repo_url}/releases/download/{release}/{file}", "sha1",
                     sha1)


def _of_torchvision(model: str) -> Published | None:
    from torchvision import models

    try:
        weights = getattr(models.get_model_weights(model), "IMAGENET1K_V1", None)
    except ValueError:
        return None
    if weights is None:
        return None
    name = weights.url.rpartition("/")[2]  # such as resnet34-b627a593.pth
    return Published(weights.url, "sha256", name.removesuffix(".pth").rpartition("-")[2])


def provide(backbone: Backbone, target: Path, progress: Progress | None = None) -> str:
    """Make `target` the weights file that a backbone starts from; returns what was done in words.

    A file that was brought by hand stays; it is compared with what is published.

    Raises:
        CallerError: as `published` and `fetch` do, or what is there has changed.
    """
    if not target.is_file() or not target.stat().st_size:
        return fetch(published(backbone), target, progress)
    if beside(target).is_file():
        check_beside(target)
        return "was there already"
    try:
        source = published(backbone)
    except CallerError:  # nobody has another
        return "was there already"
    if not sha_of(target, source.algorithm).startswith(source.checksum):
        return "was there already, and is not the published one; remove it to fetch that"
    write_beside(target, target)
    return "was there already, with the published checksum"


def fetch(source: Published, target: Path, progress: Progress | None = None) -> str:
    """Make `target` the published file; returns what was done in words.

    Its SHA-256 is written beside it.

    Raises:
        CallerError: no network, an answer that is no file, or another checksum than published.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _download(source.url, part, progress)
    with replacing(target, durable=True) as temporary:
        try:
            _unpack(part, temporary)
        except (zipfile.BadZipFile, zlib.error) as error:
            part.unlink()
            raise CallerError(f"{source.url}: what came is a damaged zip ({error}); again, it is "
                              "fetched from its beginning") from error
        found = sha_of(temporary, source.algorithm)
        if not found.startswith(source.checksum):
            part.unlink()
            raise CallerError(f"{source.url}: its {source.algorithm} is {found}, published is "
                              f"{source.checksum}; nothing was kept")
        write_beside(target, temporary)
    part.unlink()
    return f"fetched, {target.stat().st_size / 1e6:.1f} MB"


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Bring a file to `part`, from where an earlier attempt left it."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        with urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}),
                     timeout=SECONDS) as answer:
            have = have if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            with open(part, "ab" if have else "wb") as handle:
                while chunk := answer.read(CHUNK):
                    handle.write(chunk)
                    have += len(chunk)
                    if progress:
                        progress(have, total)
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # it is whole already
            return
        raise CallerError(f"{url}: {error.code} {error.reason}") from error
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise CallerError(f"{url}: {reason}; fetch weights where there is network, such as a login "
                          "node, with the same FER_CACHE, or bring the file by hand") from error
    if total and have < total:
        raise CallerError(f"{url}: cut off after {have:,} of {total:,} bytes; again, it goes on "
                          "from there")


def _unpack(part: Path, target: Path) -> None:
    """Copy the file, or the only `.pth` in a zip that is no checkpoint itself."""
    names = zipfile.ZipFile(part).namelist() if zipfile.is_zipfile(part) else []
    inside = [name for name in names if name.endswith(".pth")]
    with (zipfile.ZipFile(part).open(inside[0]) if inside else open(part, "rb")) as source, \
            open(target, "wb") as out:
        while chunk := source.read(CHUNK):
            out.write(chunk)
