from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.training.sampling import Epochs, random_generator, shuffled, step_numbers


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (1, 4), (2, 1), (4, 3)])
def test_processes_and_parts_share_each_step_s_samples_whatever_their_number(
    world: int, parts: int
) -> None:
    for step in (0, 5):
        read = [
            number
            for rank in range(world)
            for part in islice(step_numbers(step, 24, parts, rank, world), parts)
            for number in part
        ]
        assert read == list(range(24 * step, 24 * step + 24))


def test_a_run_that_starts_at_a_step_reads_what_it_would_have_read() -> None:
    whole = list(islice(step_numbers(0, 8, 2, 1, 2), 12))
    assert list(islice(step_numbers(3, 8, 2, 1, 2), 6)) == whole[6:]


def test_a_batch_that_does_not_split_is_refused() -> None:
    with pytest.raises(UsageError, match="use a multiple of 6"):
        step_numbers(0, 16, 3, 0, 2)


class Squares:
    def __init__(self) -> None:
        self.epoch = -1

    def __len__(self) -> int:
        return 10

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index, "epoch": self.epoch}


def test_every_item_comes_once_per_epoch_in_an_order_of_its_own() -> None:
    samples = Epochs(Squares(), seed=3)
    drawn = [samples[number] for number in range(30)]

    orders = [tuple(item["index"] for item in drawn[i : i + 10]) for i in (0, 10, 20)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(orders)) == 3
    assert [item["epoch"] for item in drawn] == [0] * 10 + [1] * 10 + [2] * 10


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    one, other = Epochs(Squares(), seed=3), Epochs(Squares(), seed=3)
    for number in (25, 3, 11, 3):
        expected = one[number]
        other[17]
        assert other[number] == expected
    assert [Epochs(Squares(), 4)[i]["index"] for i in range(10)] != [
        one[i]["index"] for i in range(10)
    ]


def test_streams_and_counters_do_not_share_numbers() -> None:
    draws = {
        tuple(random_generator(1, counter, stream).integers(2**60, size=4))
        for counter in range(50)
        for stream in ("order", "sample", "step")
    }
    assert len(draws) == 150


def test_orders_are_permutations_even_of_one() -> None:
    assert shuffled(1, 0, 0).tolist() == [0]
    assert np.array_equal(np.sort(shuffled(1000, 2, 7)), np.arange(1000))


def test_an_empty_dataset_is_refused() -> None:
    class Empty(Squares):
        def __len__(self) -> int:
            return 0

    with pytest.raises(InputError, match="empty"):
        Epochs(Empty(), 0)
