"""Messages of one stamp, in any order and with holes."""

from __future__ import annotations

import itertools

import pytest

from dino_foresight_ros.nodes.monitor.assembly import MAX_WAITING, Assembly, Part

PARTS = frozenset({Part("features", 0), Part("features", 1), Part("depth")})


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_frame_goes_on_with_its_last_message_whatever_the_order(order: tuple[int, ...]):
    assembly: Assembly[str] = Assembly()
    messages = ["head", *sorted(PARTS)]
    done = []
    for index in order:
        assert done == []
        if index == 0:
            done = assembly.put_head(5, "head", PARTS)
        else:
            done = assembly.put_part(5, messages[index], index)
    ((head, parts),) = done
    assert head == "head"
    assert parts == {part: index for index, part in enumerate(messages) if index}
    assert assembly.incomplete == 0


def test_a_newer_complete_frame_lets_older_ones_go_first():
    assembly: Assembly[str] = Assembly()
    assert assembly.put_head(1, "first", PARTS) == []
    assert assembly.put_part(1, Part("depth"), "d") == []
    assert assembly.put_part(2, Part("depth"), "headless") == []
    done = assembly.put_head(3, "third", frozenset())
    assert done == [("first", {Part("depth"): "d"}), ("third", {})]
    assert assembly.incomplete == 1


def test_parts_of_newer_frames_wait_for_theirs():
    assembly: Assembly[str] = Assembly()
    assembly.put_part(2, Part("depth"), "two")
    assert assembly.put_head(1, "one", frozenset()) == [("one", {})]
    assert assembly.put_head(2, "two", frozenset({Part("depth")})) == [
        ("two", {Part("depth"): "two"})
    ]


def test_frames_that_lack_a_part_for_ever_go_on_one_by_one():
    assembly: Assembly[int] = Assembly()
    gone = []
    for stamp in range(50):
        gone += [head for head, _ in assembly.put_head(stamp, stamp, PARTS)]
    assert gone == list(range(50 - MAX_WAITING))
    assert assembly.incomplete == len(gone)


def test_parts_without_a_head_are_forgotten():
    assembly: Assembly[str] = Assembly()
    for stamp in range(1000):
        assert assembly.put_part(stamp, Part("depth"), "d") == []
    assert assembly.waiting <= MAX_WAITING
    assert assembly.incomplete == 0


def test_after_a_jump_back_nothing_of_before_is_left_but_parts_that_came_early():
    assembly: Assembly[str] = Assembly()
    assembly.put_head(100, "old", PARTS)
    assembly.put_part(101, Part("depth"), "old")
    assembly.put_part(10, Part("depth"), "new")
    assert assembly.put_head(10, "new", frozenset({Part("depth")})) == [
        ("new", {Part("depth"): "new"})
    ]
    assert assembly.put_head(200, "later", frozenset()) == [("later", {})]
    assert assembly.incomplete == 0
