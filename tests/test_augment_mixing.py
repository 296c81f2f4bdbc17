"""Mixup and CutMix: shares, pictures and labels that fit each other, whatever the batch."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from fer.config.augmentation import Mix
from fer.data.augment.mixing import label_shares, mixed, mixture, partners
from fer.data.augment.random_numbers import Samples
from fer.train.losses import WeightedCrossEntropy

SIDE = 32


def samples(n: int, epoch: int = 0) -> Samples:
    uids = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    return Samples(7, epoch, uids, np.zeros(n, np.int64))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    some = samples(4000)
    share = mixture(Mix(alpha=alpha), some, np.arange(4000), 4000, SIDE).share
    assert kstest(share, beta(alpha, alpha).cdf).pvalue > 1e-3


def test_partners_are_spread_over_all_pictures_and_change_with_the_epoch() -> None:
    n = 5000
    first, second = (mixture(Mix(), samples(n, epoch), np.arange(n), n, SIDE).partner
                     for epoch in (0, 1))
    assert kstest(first / n, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first, np.arange(n))[0, 1]) < 0.05
    assert (first == second).mean() < 0.01


def test_some_stay_as_they_are() -> None:
    pairs = mixture(Mix(probability=0.3), samples(4000), np.arange(4000), 4000, SIDE)
    alone = pairs.partner == np.arange(4000)
    assert abs(alone.mean() - 0.7) < 0.03
    assert (pairs.share[alone] == 1).mean() > 0.999  # one in 4,000 is its own partner


def test_cutmix_shows_as_much_of_the_partner_as_the_label_says() -> None:
    n = 60
    pairs = mixture(Mix(how="cutmix", alpha=1.0), samples(n), np.arange(n), n, SIDE)
    out = mixed(torch.zeros(n, 3, SIDE, SIDE), torch.ones(n, 3, SIDE, SIDE), pairs)
    assert set(out.unique().tolist()) == {0.0, 1.0}
    assert out.mean((1, 2, 3)).numpy() == pytest.approx(1 - pairs.share, abs=1e-6)


def test_mixup_shows_as_much_of_the_partner_as_the_label_says() -> None:
    pairs = mixture(Mix(), samples(60), np.arange(60), 60, SIDE)
    out = mixed(torch.zeros(60, 3, SIDE, SIDE), torch.ones(60, 3, SIDE, SIDE), pairs)
    assert out.numpy() == pytest.approx(
        np.broadcast_to((1 - pairs.share)[:, None, None, None], out.shape), abs=1e-6)


def test_either_is_half_of_each() -> None:
    pairs = mixture(Mix(how="either", alpha=1.0), samples(4000), np.arange(4000), 4000, SIDE)
    assert abs((pairs.cut[:, 1] > pairs.cut[:, 0]).mean() - 0.5) < 0.05


def test_a_partner_is_not_augmented_as_it_is_alone_or_in_another_pair() -> None:
    uids = np.full(3, 77, np.uint64)
    there = partners(samples(3), uids).between("dx", 0, 1)
    alone = Samples(7, 0, uids, np.zeros(3, np.int64)).between("dx", 0, 1)
    assert len({*there.tolist(), *alone.tolist()}) == 4


def test_labels_add_up_also_where_both_are_the_same() -> None:
    share = np.array([0.75, 0.4])
    shares = label_shares(np.array([0, 1]), np.array([2, 1]), share, 1 - share, 3)
    assert shares == pytest.approx(np.array([[0.75, 0, 0.25], [0, 1, 0]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(smoothing: float) -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    loss = WeightedCrossEntropy(np.array([2.0, 1.0, 0.5]), smoothing, torch.device("cpu"))
    first, second, share = np.array([0, 1, 2, 0, 1]), np.array([1, 1, 0, 2, 2]), 0.3
    soft = label_shares(first, second, np.full(5, share), np.full(5, 1 - share), 3)
    expected = sum(part * float(loss.sum(logits, torch.from_numpy(labels)))
                   for part, labels in ((share, first), (1 - share, second)))
    assert float(loss.sum(logits, torch.from_numpy(soft))) == pytest.approx(expected, rel=1e-5)
    weight = share * loss.weight_sum(first) + (1 - share) * loss.weight_sum(second)
    assert loss.weight_sum(soft) == pytest.approx(weight, rel=1e-6)


def test_labels_that_are_whole_have_the_loss_of_plain_labels() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    loss = WeightedCrossEntropy(np.ones(3), 0.1, torch.device("cpu"))
    labels = np.array([0, 2, 1, 1])
    soft = label_shares(labels, labels, np.ones(4), np.zeros(4), 3)
    assert float(loss.sum(logits, torch.from_numpy(soft))) == pytest.approx(
        float(loss.sum(logits, torch.from_numpy(labels))), rel=1e-6)
