"""What a study needs from disk: compute nodes are often offline, so it has to be there before."""

from collections.abc import Iterator

from rich.console import Console

from fer.cluster.doctor.finding import Finding, failure, ok
from fer.cluster.request import expanded
from fer.config.paths import cache
from fer.config.study import Study
from fer.data.pack import DamagedPack, Pack, pack_folder
from fer.errors import CallerError
from fer.study.inputs import packs_of


def check_study(study: Study) -> Iterator[Finding]:
    """Yield whether a study's pictures, weights and packs are there."""
    try:
        work = expanded(study, Console(quiet=True))
    except CallerError as error:
        first, *rest = str(error).splitlines()
        yield failure(f"study {study.study}", first, "; ".join(rest))
        return
    yield ok(f"study {study.study}", f"{len(work.runs)} runs; configurations, pictures and weights "
                                     "are there")
    missing = []
    packs = packs_of([run.config for run in work.runs], work.splits, work.data, work.contents)
    for split, _, size, digest in packs:
        try:
            Pack.open(pack_folder(split, size, cache(), digest))
        except DamagedPack:
            missing.append(f"{split} at {size} px")
    if missing:
        some = f"{', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}"
        yield ok("packs", f"{len(missing)} of {len(packs)} are not built: {some}; the first job "
                          "that needs one builds it")
    else:
        yield ok("packs", f"all {len(packs)} are built")
