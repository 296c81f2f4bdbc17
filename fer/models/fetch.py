"""Download of published weights, for login nodes before jobs start without a network.

The URLs are those of pytorchcv and torchvision; ResMasking starts from torchvision's ResNets, as
upstream. A study may also name a file of the Hugging Face hub (`fer.models.hub`) or a URL with a
digest. Interrupted downloads are resumed, checked against the published checksum and that of the
study, and published atomically. Weights are loaded in `fer.models.weights`.
"""

import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from fer.atomic_io import replacing
from fer.checksums import check_beside, check_pinned, sha_of, write_beside
from fer.config.backbone import Backbone, Pretrained
from fer.config.blocks import block_names, load_backbone
from fer.config.validate import validate
from fer.config.weights_file import hub_file, is_hub, is_url
from fer.errors import CallerError
from fer.models.hub import published_on_hub
from fer.models.published import NO_NETWORK, Published

CHUNK = 1 << 20  # bytes
SECONDS = 30  # timeout
MOST = 10_000_000_000  # bytes; the largest networks of timm have 8 GB
IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z.]+$")  # torch.hub's: resnet34-b627a593.pth
RESNETS = {"resmasking": "resnet34", "resmasking_dropout1": "resnet34",
           "resmasking_dropout2": "resnet34", "resmasking50_dropout1": "resnet50"}
FROM_PYTORCHCV = ("cbam_resnet50", "vgg19", "mobilenet_w1")  # `arch` is pytorchcv's name

Progress = Callable[[int, int], None]  # called with (bytes done, total)


def published(backbone: Backbone) -> Published:
    """Return the published ImageNet weights of a backbone.

    Raises:
        CallerError: none are published, or the backbone starts from a custom file; also as in
            `published_on_hub`, and a URL without a digest.
    """
    if backbone.pretrained is not None and (named := _named(backbone.pretrained)) is not None:
        return named
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
    given, usual = backbone.pretrained, load_backbone(name).pretrained
    return known and (usual.file if usual else None) == (given.file if given else None)


def _named(pretrained: Pretrained) -> Published | None:
    """Return the file of the hub or of a URL that a backbone names; None if it names another."""
    file = pretrained.file or ""
    if is_hub(file):
        return published_on_hub(hub_file(file))
    if not is_url(file):
        return None
    in_name = IN_NAME.search(file)
    if in_name is None and not pretrained.sha256:
        raise CallerError(f"{file}: neither its name nor the study has a digest; give its SHA-256 "
                          "(backbone.pretrained.sha256, or --sha256)")
    return Published(file, "sha256", in_name[1] if in_name else "")


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


def pinned(found: Mapping[str, Backbone], sha256: str) -> dict[str, Backbone]:
    """Return the one file to fetch, with the SHA-256 that it must have.

    Args:
        found: weights file -> a backbone that starts from it.

    Raises:
        CallerError: several files, or no SHA-256.
    """
    if len(found) != 1:
        raise CallerError(f"--sha256 is for one file; these are {len(found)}")
    ((file, backbone),) = found.items()
    given = {"source": "file", "file": file, "sha256": sha256.lower()}
    start = validate(Pretrained, given, "--sha256")
    return {file: backbone.model_copy(update={"pretrained": start})}


def provide(backbone: Backbone, target: Path, progress: Progress | None = None,
            most: int = MOST) -> str:
    """Ensure that `target` is the weights file of a backbone; return a description of the result.

    A file that was copied manually is kept and compared with the published one.

    Args:
        most: largest size, in bytes.

    Raises:
        CallerError: as in `published` and `fetch`, the existing file has changed, or it is not the
            one whose SHA-256 the backbone has.
    """
    pinned = backbone.pretrained.sha256 if backbone.pretrained else None
    if not target.is_file() or not target.stat().st_size:
        source = published(backbone)
        source = source if pinned is None else _pinned(source, pinned)
        done = fetch(source, target, progress, most)
        return done + (_commit_note(backbone, source, target) if source.commit else "")
    found = check_beside(target)
    if pinned is not None:
        check_pinned(target, pinned, found)
    if found:
        return "already present"
    try:
        source = published(backbone)
    except CallerError:  # nothing to compare with
        return "already present"
    if not sha_of(target, source.algorithm).startswith(source.checksum):
        return "already present, but not the published file; remove it to fetch that"
    write_beside(target, target)
    return "already present, with the published checksum"


def _commit_note(backbone: Backbone, source: Published, target: Path) -> str:
    """Provide a file of the hub under the name with its commit too; return how to pin it."""
    assert backbone.pretrained is not None and backbone.pretrained.file is not None
    one = hub_file(backbone.pretrained.file)
    pinned = replace(one, revision=source.commit)
    folder = target.parents[len(Path(one.file).parts)]
    copy, sha256 = folder / source.commit / one.file, sha_of(target)
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy) as temporary:
            temporary.unlink(missing_ok=True)
            try:
                os.link(target, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(target, temporary)
        write_beside(copy, copy, sha256)
    return (f"; pin it with backbone.pretrained='{{source: file, file: \"{pinned}\", sha256: "
            f"{sha256}}}'")


def _pinned(source: Published, sha256: str) -> Published:
    """Return a published file that must have this SHA-256."""
    if source.algorithm == "sha256" and not sha256.startswith(source.checksum):
        raise CallerError(f"{source}: its SHA-256 is {source.checksum[:16]}…, the pinned one is "
                          f"{sha256[:16]}… (backbone.pretrained.sha256)")
    return replace(source, algorithm="sha256", checksum=sha256)


def fetch(source: Published, target: Path, progress: Progress | None = None, most: int = MOST
          ) -> str:
    """Download the published file to `target`; return a description of the result.

    Its SHA-256 is written next to it.

    Args:
        most: largest size, in bytes.

    Raises:
        CallerError: no network, an invalid response, a larger file, or a checksum other than the
            published one.
    """
    if source.size > most:
        raise _too_large(source, source.size, most)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _download(source, part, progress, most)
    with replacing(target, durable=True) as temporary:
        try:
            _unpack(part, temporary, most)
        except (zipfile.BadZipFile, zlib.error) as error:
            part.unlink()
            raise CallerError(f"{source}: the download is a damaged zip ({error}); run again "
                              "to fetch it from the beginning") from error
        found = sha_of(temporary, source.algorithm)
        if not found.startswith(source.checksum):
            part.unlink()
            raise CallerError(f"{source}: its {source.algorithm} is {found}, published is "
                              f"{source.checksum}; the download was deleted")
        write_beside(target, temporary, found if source.algorithm == "sha256" else "")
    part.unlink()
    return f"fetched, {target.stat().st_size / 1e6:.1f} MB"


def _too_large(source: Published, size: int, most: int) -> CallerError:
    return CallerError(f"{source}: has {size / 1e9:,.2f} GB, more than {most / 1e9:,.2f} GB; "
                       "allow it with --max-gb")


def _download(source: Published, part: Path, progress: Progress | None, most: int) -> None:
    """Download a file to `part`, resuming an earlier attempt."""
    have = part.stat().st_size if part.is_file() else 0
    request = Request(source.url, headers={"Range": f"bytes={have}-"} if have else {})
    if source.authorization:
        request.add_unredirected_header("Authorization", source.authorization)
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            have = have if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            if total > most:
                raise _too_large(source, total, most)
            with open(part, "ab" if have else "wb") as handle:
                while chunk := answer.read(CHUNK):
                    handle.write(chunk)
                    have += len(chunk)
                    if have > most:
                        part.unlink()
                        raise _too_large(source, have, most)
                    if progress:
                        progress(have, total)
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # already complete
            return
        raise CallerError(f"{source}: {error.code} {error.reason}") from error
    except (URLError, OSError, HTTPException) as error:
        # an invalid redirection of the hub would quote a signed address
        quoted = type(error).__name__ if source.commit else error
        reason = getattr(error, "reason", None) or quoted
        raise CallerError(f"{source}: {reason}; {NO_NETWORK}") from error
    if total and have < total:
        raise CallerError(f"{source}: interrupted after {have:,} of {total:,} bytes; run again to "
                          "resume")


def _unpack(part: Path, target: Path, most: int) -> None:
    """Copy the file, or the only `.pth` in a zip that is not itself a checkpoint."""
    names = zipfile.ZipFile(part).namelist() if zipfile.is_zipfile(part) else []
    inside = [name for name in names if name.endswith(".pth")]
    left = most
    with (zipfile.ZipFile(part).open(inside[0]) if inside else open(part, "rb")) as source, \
            open(target, "wb") as out:
        while chunk := source.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise CallerError(f"{part}: unpacks to more than {most / 1e9:,.2f} GB")
            out.write(chunk)
