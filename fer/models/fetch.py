"""Download of published weights, for login nodes before jobs start without a network.

The URLs are those of pytorchcv and torchvision; ResMasking starts from torchvision's ResNets, as
upstream. Interrupted downloads are resumed, checked against the published checksum, and published
atomically. Weights are loaded in `fer.models.weights`.
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
SECONDS = 30  # timeout
RESNETS = {"resmasking": "resnet34", "resmasking_dropout1": "resnet34",
           "resmasking_dropout2": "resnet34", "resmasking50_dropout1": "resnet50"}
FROM_PYTORCHCV = ("cbam_resnet50", "vgg19", "mobilenet_w1")  # `arch` is pytorchcv's name

Progress = Callable[[int, int], None]  # called with (bytes done, total)


@dataclass(frozen=True)
class Published:
    """A published weights file.

    Attributes:
        url: of the file, or of a zip that contains it.
        algorithm: of the checksum: sha1 or sha256.
        checksum: hexadecimal, of the unzipped file; may be a prefix.
    """

    url: str
    algorithm: str
    checksum: str


def published(backbone: Backbone) -> Published:
    """Return the published ImageNet weights of a backbone.

    Raises:
        CallerError: none are published, or the backbone starts from a custom file.
    """
    if not _is_usual(backbone):
        file = backbone.pretrained.file if backbone.pretrained else None
        raise CallerError(f"weights file {file} of backbone '{backbone.name}' is not published; "
                          "copy it there (launch/weights.py convert creates one from a checkpoint)")
    library, _, model = backbone.arch.rpartition("/")
    if backbone.arch in RESNETS:
        library, model = "torchvision", RESNETS[backbone.arch]
    found = (_of_torchvision(model) if library == "torchvision" else
             _of_pytorchcv(model) if library == "pytorchcv" or model in FROM_PYTORCHCV else None)
    if found is None:
        raise CallerError(f"backbone '{backbone.name}': no weights are published for "
                          f"'{backbone.arch}'; train it with recipe=scratch, or provide a file")
    return found


def _is_usual(backbone: Backbone) -> bool:
    """Return whether a backbone starts from its default file, not from one named by a study."""
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
    """Ensure that `target` is the weights file of a backbone; return a description of the result.

    A file that was copied manually is kept and compared with the published one.

    Raises:
        CallerError: as in `published` and `fetch`, or the existing file has changed.
    """
    if not target.is_file() or not target.stat().st_size:
        return fetch(published(backbone), target, progress)
    if beside(target).is_file():
        check_beside(target)
        return "already present"
    try:
        source = published(backbone)
    except CallerError:  # nothing to compare with
        return "already present"
    if not sha_of(target, source.algorithm).startswith(source.checksum):
        return "already present, but not the published file; remove it to fetch that"
    write_beside(target, target)
    return "already present, with the published checksum"


def fetch(source: Published, target: Path, progress: Progress | None = None) -> str:
    """Download the published file to `target`; return a description of the result.

    Its SHA-256 is written next to it.

    Raises:
        CallerError: no network, an invalid response, or a checksum other than the published one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _download(source.url, part, progress)
    with replacing(target, durable=True) as temporary:
        try:
            _unpack(part, temporary)
        except (zipfile.BadZipFile, zlib.error) as error:
            part.unlink()
            raise CallerError(f"{source.url}: the download is a damaged zip ({error}); run again "
                              "to fetch it from the beginning") from error
        found = sha_of(temporary, source.algorithm)
        if not found.startswith(source.checksum):
            part.unlink()
            raise CallerError(f"{source.url}: its {source.algorithm} is {found}, published is "
                              f"{source.checksum}; the download was deleted")
        write_beside(target, temporary)
    part.unlink()
    return f"fetched, {target.stat().st_size / 1e6:.1f} MB"


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Download a file to `part`, resuming an earlier attempt."""
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
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # already complete
            return
        raise CallerError(f"{url}: {error.code} {error.reason}") from error
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise CallerError(f"{url}: {reason}; fetch weights on a machine with network, such as a "
                          "login node, with the same FER_CACHE, or copy the file manually"
                          ) from error
    if total and have < total:
        raise CallerError(f"{url}: interrupted after {have:,} of {total:,} bytes; run again to "
                          "resume")


def _unpack(part: Path, target: Path) -> None:
    """Copy the file, or the only `.pth` in a zip that is not itself a checkpoint."""
    names = zipfile.ZipFile(part).namelist() if zipfile.is_zipfile(part) else []
    inside = [name for name in names if name.endswith(".pth")]
    with (zipfile.ZipFile(part).open(inside[0]) if inside else open(part, "rb")) as source, \
            open(target, "wb") as out:
        while chunk := source.read(CHUNK):
            out.write(chunk)
