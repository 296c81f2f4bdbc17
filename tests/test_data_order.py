"""The order of an epoch: a permutation, uniform, the same for ever."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fer.data.sampler import EpochSampler, batch_bounds, batch_count, share

SIZES = st.integers(1, 5000)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_an_epoch_is_a_permutation(n: int, passes: int, seed: int, epoch: int) -> None:
    order = EpochSampler(n, passes, seed)
    items = order.positions(epoch, 0, order.items)
    assert items.dtype == np.int64
    assert np.array_equal(np.sort(items), np.arange(n * passes))


@given(SIZES, st.data())
def test_any_piece_is_a_piece_of_the_whole(n: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    order = EpochSampler(n, 1, 5)
    assert np.array_equal(order.positions(2, start, stop), order.positions(2, 0, n)[start:stop])


def test_an_epoch_holds_every_sample_once_a_pass() -> None:
    order = EpochSampler(50, 4, 1)
    samples, passes = order.samples_and_passes(order.positions(0, 0, 200))
    assert len(set(zip(samples.tolist(), passes.tolist(), strict=True))) == 200
    assert samples.max() == 49 and passes.max() == 3


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1), (2**31, 0), (0, 2**20)])
def test_another_seed_or_epoch_is_another_order(seed: int, epoch: int) -> None:
    first = EpochSampler(1000, 1, 0).positions(0, 0, 1000)
    other = EpochSampler(1000, 1, seed).positions(epoch, 0, 1000)
    assert np.mean(first == other) < 0.01  # as many as by chance


@pytest.mark.parametrize("n", [7, 100])
def test_the_first_place_is_uniform_over_epochs(n: int) -> None:
    order = EpochSampler(n, 1, 11)
    firsts = np.concatenate([order.positions(epoch, 0, 1) for epoch in range(40 * n)])
    assert chisquare(np.bincount(firsts, minlength=n)).pvalue > 1e-3


@pytest.mark.parametrize("n", [7, 100])
def test_where_item_zero_stands_is_uniform_over_epochs(n: int) -> None:
    order = EpochSampler(n, 1, 12)
    places = [int(np.flatnonzero(order.positions(epoch, 0, n) == 0)[0]) for epoch in range(40 * n)]
    assert chisquare(np.bincount(places, minlength=n)).pvalue > 1e-3


def test_which_item_follows_which_is_uniform() -> None:
    order, n = EpochSampler(7, 1, 13), 7
    pairs = np.stack([order.positions(epoch, 0, 2) for epoch in range(4200)])
    counts = np.bincount(pairs[:, 0] * n + pairs[:, 1], minlength=n * n).reshape(n, n)
    assert chisquare(counts[~np.eye(n, dtype=bool)]).pvalue > 1e-3


def test_neighbours_in_the_data_are_no_neighbours_in_the_order() -> None:
    items = EpochSampler(20_000, 1, 3).positions(0, 0, 20_000)
    assert abs(np.corrcoef(items[:-1], items[1:])[0, 1]) < 0.03


def test_the_order_never_changes() -> None:
    assert EpochSampler(10, 1, 0).positions(0, 0, 10).tolist() == [2, 7, 6, 1, 4, 0, 9, 3, 8, 5]
    assert EpochSampler(9330, 4, 1234).positions(17, 20_000, 20_006).tolist() == [
        5134, 15623, 23013, 34791, 113, 19207]


@given(st.integers(1, 100_000), st.integers(1, 512))
def test_batches_cover_an_epoch_and_differ_by_one_at_most(items: int, batch_size: int) -> None:
    count = batch_count(items, batch_size)
    bounds = [batch_bounds(items, batch_size, k) for k in range(count)]
    sizes = {stop - start for start, stop in bounds}
    assert bounds[0][0] == 0 and bounds[-1][1] == items
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    assert 1 <= max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert count == -(-items // batch_size)


@given(st.integers(0, 600), st.integers(1, 64))
def test_the_ranks_together_have_the_global_batch(size: int, world: int) -> None:
    pieces = [range(*share(100, 100 + size, rank, world)) for rank in range(world)]
    assert [item for piece in pieces for item in piece] == list(range(100, 100 + size))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
