"""Files of the Hugging Face hub: their address, digest and size, and one-line refusals.

Names, revisions, redirects and the user's token are `huggingface_hub`'s part. The download itself
is `fer.models.fetch`'s, because that of `huggingface_hub` starts again after a cut. No message
quotes an error of the library or the server: they may contain a token or a signed address.
"""

import re
from urllib.parse import urljoin, urlsplit

from fer.config.weights_file import HubFile
from fer.errors import CallerError, choices
from fer.models.published import NO_NETWORK, Published

SHA256 = re.compile("[0-9a-f]{64}")
COMMIT = re.compile("[0-9a-f]{40}")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
MOST_NAMED = 12  # files of a repository in a message


def published_on_hub(one: HubFile) -> Published:
    """Return the address of a file of the hub, its commit, and its SHA-256 if the hub has it.

    Raises:
        CallerError: no such repository, revision or file; a gated or private one; no network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        address = hf_hub_url(one.repository, one.file, revision=one.revision)
        found = get_hf_file_metadata(address)
        if not found.commit_hash or not COMMIT.fullmatch(found.commit_hash):
            raise CallerError(f"{one}: the server's answer names no commit; it is no hub "
                              "(HF_ENDPOINT)")
        pinned = hf_hub_url(one.repository, one.file, revision=found.commit_hash)
    except _errors() as error:
        raise _refusal(one, error) from None
    url = urljoin(address, found.location) if found.location != address else pinned
    if urlsplit(url).scheme not in ("https", urlsplit(address).scheme):
        raise CallerError(f"{one}: the hub redirects to another protocol than https")
    etag = found.etag or ""
    return Published(url, "sha256", etag if SHA256.fullmatch(etag) else "", name=str(one),
                     size=found.size or 0, commit=found.commit_hash,
                     authorization=_authorization() if _host(url) == _host(address) else "")


def _errors() -> tuple[type[Exception], ...]:
    """Return what requests to the hub raise; the library for HTTP differs between versions."""
    from huggingface_hub.errors import HfHubHTTPError

    http = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]
    return (OSError, ValueError, RuntimeError, *http)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _authorization() -> str:
    """Return the value of the header with the user's token; empty if there is none."""
    from huggingface_hub.utils import build_hf_headers

    return str(build_hf_headers().get("authorization", ""))


def _refusal(one: HubFile, error: Exception) -> CallerError:
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{one.repository}"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, CallerError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return CallerError(f"{one}: HF_HUB_OFFLINE is set; {NO_NETWORK}")
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return CallerError(f"{one}: gated: accept its terms at {page}, then {LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return CallerError(f"{one}: the repository has no revision '{one.revision}'; {page}")
    if isinstance(error, errors.EntryNotFoundError):
        return CallerError(f"{one}: the repository has no file '{one.file}'{_files(one)}")
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return CallerError(f"{one}: no such repository, or a private one: check the name, or "
                           f"{LOG_IN}")
    if status:
        return CallerError(f"{one}: the hub answers with status {status}; try again later")
    return CallerError(f"{one}: the hub cannot be reached ({type(error).__name__}); {NO_NETWORK}")


def _files(one: HubFile) -> str:
    """Return the names of the files that a repository has instead, for a message."""
    from huggingface_hub import HfApi

    try:
        names = HfApi().list_repo_files(one.repository, revision=one.revision)
    except _errors():
        return ""
    return f"; there are: {choices(sorted(names)[:MOST_NAMED])}" if names else ""
