"""Batches are made ahead in a thread: the same ones in the same order, whichever is asked for first."""

import threading

import pytest
import torch

from tdro.training.ahead import AheadOfTraining


class Items(torch.utils.data.Dataset):
    """Item t holds t; notes who asked for what."""

    def __init__(self, count, broken=None):
        self.count, self.broken, self.asked = count, broken, []

    def __len__(self):
        return self.count

    def __getitem__(self, step):
        if step == self.broken:
            raise ValueError(f"item {step}")
        self.asked.append((step, threading.current_thread().name))
        return {"value": torch.tensor(step)}


def test_items_come_in_the_order_they_are_asked_for():
    items = Items(20)
    ahead = AheadOfTraining(items)
    order = [0, 1, 2, 3, 9, 10, 4, 5, 19, 18, 0]  # somebody jumps, as in resuming
    assert [int(ahead[step]["value"]) for step in order] == order
    assert len(ahead) == 20


def test_the_next_items_are_made_in_one_thread_and_no_further_than_the_end():
    items = Items(5)
    ahead = AheadOfTraining(items)
    _ = ahead[0]
    ahead._thread.shutdown()  # waits for what is being made
    assert [step for step, _ in items.asked] == [0, 1, 2]
    assert {name.rsplit("_", 1)[0] for _, name in items.asked} == {"batches"}
    short = AheadOfTraining(Items(2))
    assert [int(short[step]["value"]) for step in range(2)] == [0, 1]


def test_an_error_comes_with_the_item_that_has_it():
    ahead = AheadOfTraining(Items(5, broken=2))
    assert [int(ahead[step]["value"]) for step in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        _ = ahead[2]
    assert int(ahead[3]["value"]) == 3


def test_the_thread_ends_with_its_object():
    ahead = AheadOfTraining(Items(5))
    _ = ahead[0]
    (thread,) = ahead._thread._threads
    del ahead
    thread.join(timeout=10)
    assert not thread.is_alive()
