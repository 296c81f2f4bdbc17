"""A published file of weights: where it is, and how it is recognised."""

from dataclasses import dataclass, field

NO_NETWORK = ("fetch weights on a machine with network, such as a login node, with the same "
              "FER_CACHE, or copy the file manually")


@dataclass(frozen=True)
class Published:
    """A published weights file.

    Attributes:
        url: of the file, or of a zip that contains it; may be signed.
        algorithm: of the checksum: sha1 or sha256.
        checksum: hexadecimal, of the unzipped file; may be a prefix, or empty where none is known.
        name: for messages; empty for the URL.
        size: in bytes; 0 if unknown.
        commit: of the hub's repository; empty elsewhere.
        authorization: header for the host of the URL alone; never shown.
    """

    url: str
    algorithm: str
    checksum: str
    name: str = ""
    size: int = 0
    commit: str = ""
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.name or self.url
