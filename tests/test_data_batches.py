"""Batches: the same samples whatever the ranks, any of them at once, nothing lost or doubled."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_sets import CLASSES, write_set

from fer.config.augmentation import Mix
from fer.data.batches import BLOCK, EvalBatches, TrainBatches
from fer.data.layout import scan
from fer.data.pack import Pack
from fer.data.pack_builder import build_pack
from fer.data.pixels import Source, _Resident
from fer.data.sampler import EpochSampler

SIZE = 24


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Pack]:
    root = tmp_path_factory.mktemp("packs")
    made = []
    for name, count in (("lfw", 9), ("mlfw", 5)):
        folder = write_set(root / name, {"train": count}, seed=100 * count)
        pictures = scan(name, folder, CLASSES)["train"]
        made.append(build_pack(pictures, CLASSES, SIZE, root / f"{name}-pack", "d" * 32))
    return made


@pytest.fixture
def joint(packs: list[Pack]) -> Source:
    return Source(packs)


def test_a_joint_source_is_its_packs_one_after_the_other(joint: Source, packs: list[Pack]) -> None:
    everything = np.arange(joint.n)
    assert joint.n == 42 and joint.class_counts == (14, 14, 14)
    assert np.array_equal(joint.gather(everything).numpy(),
                          np.concatenate([pack.pixels for pack in packs]))
    assert np.array_equal(joint.labels_of(everything),
                          np.concatenate([pack.labels for pack in packs]))
    assert np.array_equal(joint.uids_of(everything), np.concatenate([p.uids for p in packs]))
    assert joint.index().num_rows == 42


def test_pictures_come_in_the_order_asked_for(joint: Source, packs: list[Pack]) -> None:
    batch = joint.gather(np.array([30, 2, 30, 41]))
    assert np.array_equal(batch[0].numpy(), packs[1].pixels[3])
    assert np.array_equal(batch[1].numpy(), packs[0].pixels[2])
    assert torch.equal(batch[0], batch[2])


@pytest.mark.parametrize("bad", [[-1], [42]])
def test_a_number_outside_the_source_is_refused(bad: list[int], joint: Source) -> None:
    with pytest.raises(AssertionError):
        joint.gather(np.array(bad))


@given(asked=st.lists(st.lists(st.integers(0, 41), max_size=9), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pictures_kept_on_the_device_are_the_pictures(
        joint: Source, asked: list[list[int]]) -> None:
    resident = _Resident(joint.n, joint.size, torch.device("cpu"))
    for numbers in asked:
        indices = np.array(numbers, np.int64)
        assert torch.equal(resident.gather(indices, joint), joint.gather_from_disk(indices))


def test_pictures_kept_on_the_device_are_read_once(
        joint: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    resident, read = _Resident(joint.n, joint.size, torch.device("cpu")), []
    original = joint.gather_from_disk
    monkeypatch.setattr(joint, "gather_from_disk",
                        lambda indices: read.extend(indices.tolist()) or original(indices))
    for numbers in ([1, 2, 2], [2, 3], [1, 3]):
        resident.gather(np.array(numbers), joint)
    assert read == [1, 2, 3]


@pytest.mark.parametrize("preset", ["none", "light", "seed2021", "strong", "trivial"])
@pytest.mark.parametrize("world", [1, 2, 3, 16])
def test_the_ranks_together_have_the_batch_of_one(
        joint: Source, preset: str, world: int) -> None:
    alone = TrainBatches(joint, 3, preset, 10)
    ranks = [TrainBatches(joint, 3, preset, 10, rank, world) for rank in range(world)]
    for step in range(alone.steps_per_epoch):
        whole = alone.batch(1, step)
        shares = [rank.batch(1, step) for rank in ranks]
        assert torch.equal(torch.cat([share.images for share in shares]), whole.images)
        assert torch.equal(torch.cat([share.labels for share in shares]), whole.labels)
        assert [share.start for share in shares] == np.cumsum(
            [0, *(len(share) for share in shares[:-1])]).tolist()
        for share in shares:
            assert np.array_equal(share.global_labels, whole.labels.numpy())


@pytest.mark.parametrize(("preset", "passes"), [("none", 1), ("light", 1), ("seed2021", 4)])
def test_an_epoch_has_every_sample_once_a_pass(joint: Source, preset: str, passes: int) -> None:
    batches = TrainBatches(joint, 0, preset, 10)
    counts = np.bincount(np.concatenate([batch.indices for batch in batches.epoch(0)]))
    assert counts.tolist() == [passes] * joint.n
    assert batches.steps_per_epoch == -(-joint.n * passes // 10)


@pytest.mark.parametrize("preset", ["light", "seed2021", "strong", "trivial"])
def test_resuming_anywhere_gives_the_same_batches(joint: Source, preset: str) -> None:
    through = [batch.images.clone() for batch in TrainBatches(joint, 5, preset, 8).epoch(2)]
    for step in (0, 3, len(through) - 1):
        assert torch.equal(TrainBatches(joint, 5, preset, 8).batch(2, step).images, through[step])


def test_batch_size_does_not_change_what_happens_to_a_sample(packs: list[Pack]) -> None:
    def by_sample(batch_size: int) -> dict[int, torch.Tensor]:
        batches = TrainBatches(Source(packs[:1]), 5, "light", batch_size).epoch(0)
        return {int(i): image.clone() for batch in batches
                for i, image in zip(batch.indices, batch.images, strict=True)}

    small, large = by_sample(3), by_sample(20)
    assert all(torch.equal(small[i], large[i]) for i in range(27))


def test_labels_are_those_of_the_pictures(joint: Source) -> None:
    batch = TrainBatches(joint, 0, "none", 10).batch(0, 1)
    assert batch.labels.dtype == torch.int64
    assert np.array_equal(batch.labels.numpy(), joint.labels_of(batch.indices))
    assert torch.equal(batch.images, joint.gather(batch.indices).permute(0, 3, 1, 2))


@pytest.mark.parametrize("world", [1, 2, 5, 50])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_evaluation_sees_every_picture_once_in_order(
        joint: Source, world: int, batch_size: int) -> None:
    seen = [batch for rank in range(world)
            for batch in EvalBatches(joint, batch_size, rank, world)]
    assert np.concatenate([b.indices for b in seen]).tolist() == list(range(joint.n))
    assert all(b.images.dtype == torch.uint8 and len(b) <= batch_size for b in seen)
    assert torch.equal(torch.cat([b.images for b in seen]),
                       joint.gather(np.arange(joint.n)).permute(0, 3, 1, 2))


def test_evaluation_batches_are_channels_last(joint: Source) -> None:
    images = EvalBatches(joint, 21).batch(0).images
    assert images.shape == (21, 3, SIZE, SIZE)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_first_batch_does_not_depend_on_the_number_of_pictures(
        joint: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[int] = []
    positions = EpochSampler.positions
    monkeypatch.setattr(EpochSampler, "positions", lambda self, epoch, start, stop:
                        work.append(stop - start) or positions(self, epoch, start, stop))
    batches = TrainBatches(joint, 987, "seed2021", 10)
    batches.order = EpochSampler(10**9, 4, 987)  # a billion pictures: only the order looks at n
    monkeypatch.setattr(joint, "labels_of", lambda indices: np.zeros(len(indices), np.int64))
    monkeypatch.setattr(joint, "uids_of", lambda indices: indices.astype(np.uint64))
    monkeypatch.setattr(joint, "gather", lambda indices: torch.zeros(
        (len(indices), SIZE, SIZE, 3), dtype=torch.uint8))
    assert len(batches.batch(0, 0)) == 10 and work == [BLOCK]


def test_a_batch_across_blocks_is_in_order() -> None:
    from fer.data.batches import _items

    order = EpochSampler(3 * BLOCK, 1, 1)
    for start, stop in ((BLOCK - 3, BLOCK + 4), (5, 2 * BLOCK + 1), (BLOCK, BLOCK + 1)):
        assert np.array_equal(_items(order, 0, start, stop), order.positions(0, start, stop))


@pytest.mark.parametrize("augment", ["none", "light", "strong", "trivial"])
@pytest.mark.parametrize("how", ["mixup", "cutmix", "either"])
def test_mixed_batches_do_not_depend_on_the_ranks(joint: Source, augment: str, how: str) -> None:
    mix = Mix(how=how, alpha=1.0, probability=0.8)  # type: ignore[arg-type]
    whole = TrainBatches(joint, 3, augment, 12, mix=mix).batch(2, 1)
    parts = [TrainBatches(joint, 3, augment, 12, rank, 3, mix=mix).batch(2, 1)
             for rank in range(3)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    for part in parts:
        assert np.array_equal(part.global_labels, whole.global_labels)
    assert whole.images.dtype == torch.float32 and whole.labels.shape == (len(whole), 3)
    assert whole.images.is_contiguous(memory_format=torch.channels_last)


def test_a_mixed_sample_does_not_depend_on_its_batch(joint: Source) -> None:
    mix = Mix(how="either", alpha=1.0)
    large, small = (TrainBatches(joint, 3, "light", size, mix=mix) for size in (42, 5))
    one = small.batch(0, 3)
    all_of_them = large.batch(0, 0)
    for row, index in enumerate(one.indices):
        place = int(np.flatnonzero(all_of_them.indices == index)[0])
        assert torch.equal(one.images[row], all_of_them.images[place])
        assert torch.equal(one.labels[row], all_of_them.labels[place])
