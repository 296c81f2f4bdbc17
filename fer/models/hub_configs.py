"""Download of the `config.json` of models of the hub, which says what network a backbone is.

    timm/hf_hub:ORG/NAME

It is read in `fer.config.library_models`, whenever a configuration names the backbone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fer.config.library_models import CONFIG, HUB, MAX_CONFIG, hub_file
from fer.config.load import locate
from fer.config.weights_file import hub_file as parsed
from fer.config.weights_file import weights_path
from fer.config.yaml_io import read_tree
from fer.models.fetch import fetch
from fer.models.hub import published_on_hub


def fetch_configs(names: Sequence[str], cache: Path) -> None:
    """Download what is missing for the models of the hub among `names`, and in study files.

    Args:
        names: of backbones; or study files, in which values are looked at wherever they are.
        cache: `$FER_CACHE`.

    Raises:
        CallerError: as `published_on_hub` and `fetch`; or a malformed name.
    """
    for name in names:
        tree = read_tree(locate(name)) if name.endswith((".yaml", ".yml")) else name
        for backbone in dict.fromkeys(_hub_names(tree)):
            file = hub_file(backbone, CONFIG)
            target = weights_path(cache, file)
            if not target.is_file():
                fetch(published_on_hub(parsed(file)), target, most=MAX_CONFIG)


def _hub_names(value: object) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(HUB):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _hub_names(one)
