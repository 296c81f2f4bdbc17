"""Splits by identity: validation split off train, and folds of a family of sets.

All pictures of a person stay together; a picture of an unknown person is a unit of its own, with
its masked copies. People are assigned by hashes of their names, stratified by
class; the result depends only on names and labels. Pictures are located in `fer.data.splits`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from math import ceil

from fer.data.layout import Picture


def split_identities(pictures: Iterable[Picture], fraction: float, seed: int) -> frozenset[str]:
    """Return the people (`Picture.unit`) of the validation split, from names and labels.

    A picture and its masked copy count once, so adding a masked set does not change validation.
    """
    labels, strata = _strata(pictures, seed)
    left = Counter(label for present in labels.values() for label in present)
    chosen: set[str] = set()
    for identities in strata:
        take = ceil(fraction * len(identities) - 1e-9)  # 0.1 * 70 is slightly above 7
        for identity in identities[:take]:
            if all(left[label] > 1 for label in labels[identity]):
                chosen.add(identity)
                left.subtract(labels[identity])
    return frozenset(chosen)


def fold_identities(pictures: Iterable[Picture], folds: int, seed: int) -> dict[str, int]:
    """Return the fold, 0…folds-1, of each identity; fold sizes differ by at most one.

    So do the numbers of people per fold within each stratum (people by their rarest class).
    """
    _, strata = _strata(pictures, seed)
    everyone = [identity for identities in strata for identity in identities]
    return {identity: place % folds for place, identity in enumerate(everyone)}


def balanced_folds(pictures: Iterable[Picture], folds: int, seed: int) -> dict[str, int]:
    """Return the fold, 0…folds-1, of each identity, with the pictures of each class balanced.

    Greedy: whoever has most pictures first, hashes breaking ties, each into the fold that has the
    smallest shares of the classes in that person's pictures; of equal ones, that with the fewest
    people. A picture and its masked copies count once.
    """
    # sorted: sums of shares round by their order, and a set's is another one in each process
    distinct = sorted({(p.unit, p.pair_key, p.label) for p in pictures})
    totals = Counter(label for _, _, label in distinct)
    own: dict[str, Counter[int]] = defaultdict(Counter)
    for identity, _, label in distinct:
        own[identity][label] += 1
    shares = {identity: {label: count / totals[label] for label, count in counts.items()}
              for identity, counts in own.items()}
    order = sorted(shares, key=lambda one: (-sum(shares[one].values()), _rank(seed, one)))
    filled: list[dict[int, float]] = [defaultdict(float) for _ in range(folds)]
    people, found = [0] * folds, dict[str, int]()
    for identity in order:
        cost = [sum(share * fold[label] for label, share in shares[identity].items())
                for fold in filled]
        best = min(range(folds), key=lambda fold: (round(cost[fold], 12), people[fold], fold))
        for label, share in shares[identity].items():
            filled[best][label] += share
        people[best] += 1
        found[identity] = best
    return found


def _strata(pictures: Iterable[Picture], seed: int
            ) -> tuple[dict[str, set[int]], list[list[str]]]:
    """Return each identity's labels, and the identities by their rarest label, shuffled."""
    distinct = {(p.unit, p.pair_key, p.label) for p in pictures}
    counts = Counter(label for _, _, label in distinct)
    labels: dict[str, set[int]] = defaultdict(set)
    for identity, _, label in distinct:
        labels[identity].add(label)
    strata: dict[int, list[str]] = defaultdict(list)
    for identity, present in labels.items():
        strata[min(present, key=lambda label: (counts[label], label))].append(identity)
    for identities in strata.values():
        identities.sort(key=lambda identity: _rank(seed, identity))
    return labels, [identities for _, identities in sorted(strata.items())]


def _rank(seed: int, identity: str) -> bytes:
    return blake2b(f"{seed}:{identity}".encode(), digest_size=16).digest()
