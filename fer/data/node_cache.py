"""Node-local copies of packs in the profile's scratch folder, shared by the node's ranks."""

import os
import shutil
from pathlib import Path

from fer.atomic_io import building_folder
from fer.data.pack import DamagedPack, Pack, only_builder

SPARE = 1.1  # required free space, relative to a pack's size


def node_copy(pack: Pack, scratch: Path | None) -> Pack:
    """Return a pack's copy below `scratch`; create it if it is missing.

    Without a scratch folder, or if it is full, the pack itself is returned: it has the same content
    but is slower to read over the network.
    """
    if scratch is None:
        return pack
    place = scratch / f"fer-packs-{os.getuid()}"
    copy = place / pack.folder.name
    place.mkdir(parents=True, exist_ok=True)
    with only_builder(copy):
        try:
            return _same(Pack.open(copy), pack)
        except DamagedPack:
            pass
        size = sum(file.stat().st_size for file in pack.folder.iterdir())
        if shutil.disk_usage(place).free < SPARE * size:
            return pack
        shutil.rmtree(copy, ignore_errors=True)
        with building_folder(copy) as building:
            for file in pack.folder.iterdir():
                shutil.copyfile(file, building / file.name)
        copied = Pack.open(copy)
        if not copied.intact:  # the original is damaged too
            shutil.rmtree(copy)
            return pack
    return copied


def _same(copy: Pack, pack: Pack) -> Pack:
    if (copy.digest, copy.contents) != (pack.digest, pack.contents) or not copy.intact:
        raise DamagedPack(f"{copy.folder} is another pack")
    return copy
