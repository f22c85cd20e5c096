from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dino_foresight_ros.render import Look, Moment, Mosaic, contact_sheet, theme, untrained_banner
from dino_foresight_ros.render.banner import with_untrained_banner
from dino_foresight_ros.render.views import columns_of, spread

MakeLook = Callable[..., Look]
MakeMoment = Callable[..., Moment]


def count_of(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(-1).sum())


def contains(picture: np.ndarray, tile: np.ndarray) -> bool:
    """Whether a tile occurs anywhere, unchanged."""
    height, width = tile.shape[:2]
    corner = (picture == tile[0, 0]).all(-1)
    return any(
        np.array_equal(picture[y : y + height, x : x + width], tile)
        for y, x in zip(*np.nonzero(corner), strict=True)
    )


@pytest.mark.parametrize("width", [800, 1600])
def test_sheet_is_as_wide_as_asked(
    make_moment: MakeMoment, make_look: MakeLook, width: int
) -> None:
    sheet = contact_sheet([make_moment()], make_look(), "title", ["one", "two"], width)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1:] == (width, 3)


def test_each_moment_adds_the_same_height(make_moment: MakeMoment, make_look: MakeLook) -> None:
    moments = [make_moment(seed=i) for i in range(4)]
    heights = [len(contact_sheet(moments[:n], make_look(), "title")) for n in range(1, 5)]
    assert len(set(np.diff(heights))) == 1
    # Camera, segmentation, depth and normals: four rows of seven tiles.
    assert heights[1] - heights[0] > 4 * 130


def test_frames_that_came_are_shown_and_missing_ones_are_not(
    make_moment: MakeMoment, make_look: MakeLook
) -> None:
    moment = make_moment(arrived=2)
    mosaic = Mosaic(make_look(), [1, 2, 3], 16 / 9, width=700)
    # At the size of a tile, pictures are shown unchanged (but for the tag at the bottom).
    height, width = mosaic._grid.tile_size
    moment = make_moment(arrived=2, size=(height, width))
    frame = mosaic.draw(moment)
    assert contains(frame, moment.image)
    for view in moment.steps[:2]:
        assert view.arrived is not None
        assert contains(frame, view.arrived[: height // 2])
    left, _ = mosaic._grid.corner(0, 3)
    assert not contains(frame[:, left:], moment.image[: height // 2])


def test_untrained_weights_are_announced_on_the_sheet_and_on_each_forecast(
    make_moment: MakeMoment, make_look: MakeLook
) -> None:
    moment = make_moment()
    trained = contact_sheet([moment], make_look(), "title")
    untrained = contact_sheet([moment], make_look(trained=False), "title")
    assert count_of(trained, theme.WARNING) == 0
    banner = untrained_banner(1920, round(1920 * 0.024))
    assert contains(untrained, banner)
    # Nine forecasts carry the tag: no row of the banner reaches below the header.
    below = untrained[len(untrained) // 3 :]
    amber = (np.abs(below.astype(int) - theme.WARNING) < 60).all(-1)
    assert amber.sum() > 9 * 20


@pytest.mark.parametrize("width", [120, 640, 1600])
def test_banner_replaces_the_top_of_any_picture(width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (width // 2, width, 3), np.uint8)
    marked = with_untrained_banner(image)
    assert marked.shape == image.shape
    changed = (marked != image).any(-1)
    assert changed[:10].mean() > 0.95
    assert not changed[len(changed) // 2 :].any()
    # The words are there: something dark on the bright band.
    band = marked[: max(16, width // 24)]
    assert (band.astype(int).sum(-1) < 250).sum() > 20
    # And whole: bright at both ends.
    assert (band[:, :2] == theme.WARNING).all()
    assert (band[:, -2:] == theme.WARNING).all()


@pytest.mark.parametrize(
    ("changes", "rows"),
    [({"palette": None}, 3), ({"scale": None}, 3), ({"has_normals": False}, 3), ({}, 4)],
)
def test_a_model_without_a_head_has_no_row_for_it(
    make_moment: MakeMoment, make_look: MakeLook, changes: dict[str, object], rows: int
) -> None:
    mosaic = Mosaic(make_look(**changes), [1, 2, 3], 16 / 9)
    assert mosaic.draw(make_moment()).shape == (*mosaic.size, 3)
    tile = mosaic._grid.tile_height
    assert rows * tile < mosaic.size[0] < (rows + 0.5) * tile


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
@pytest.mark.parametrize("size", [(90, 160), (160, 90), (100, 100)])
def test_any_number_of_steps_and_any_shape_of_camera_can_be_drawn(
    make_moment: MakeMoment, make_look: MakeLook, steps: int, size: tuple[int, int]
) -> None:
    moment = make_moment(steps=steps, arrived=steps, size=size)
    assert contact_sheet([moment], make_look(), "title").shape[1] == 1920
    mosaic = Mosaic(make_look(), columns_of([moment]), size[1] / size[0])
    frame = mosaic.draw(moment)
    assert frame.shape == (*mosaic.size, 3)
    assert all(side % 2 == 0 for side in mosaic.size)


def test_a_step_that_one_moment_lacks_leaves_its_place_empty(
    make_moment: MakeMoment, make_look: MakeLook
) -> None:
    mosaic = Mosaic(make_look(), [1, 2, 3], 16 / 9)
    assert mosaic.draw(make_moment(steps=1)).shape == mosaic.draw(make_moment(steps=3)).shape


def test_segmentation_lies_over_the_frame_that_came(
    make_moment: MakeMoment, make_look: MakeLook
) -> None:
    moment = make_moment()
    with_frames = Mosaic(make_look(alpha=1.0), [1, 2, 3], 16 / 9).draw(moment)
    palette = make_look().palette
    assert palette is not None
    for color in palette.colors:
        assert count_of(with_frames, color) > 500


def test_many_steps_are_thinned_to_a_few_columns(make_moment: MakeMoment) -> None:
    assert columns_of([make_moment(steps=9)]) == [1, 4, 6, 9]
    assert columns_of([make_moment(steps=3)]) == [1, 2, 3]


@pytest.mark.parametrize(("count", "wanted"), [(0, 3), (2, 4), (10, 1), (100, 7)])
def test_spread_indices_are_distinct_and_in_order(count: int, wanted: int) -> None:
    indices = spread(count, wanted)
    assert len(indices) == min(count, wanted)
    assert indices == sorted(set(indices))
    assert all(0 <= i < count for i in indices)


def test_sheet_without_moments_is_refused(make_look: MakeLook) -> None:
    with pytest.raises(ValueError, match="at least one moment"):
        contact_sheet([], make_look(), "title")


def test_long_titles_and_facts_are_cut_at_the_margin(
    make_moment: MakeMoment, make_look: MakeLook
) -> None:
    sheet = contact_sheet([make_moment()], make_look(), "long " * 200, ["fact " * 400], 1600)
    assert (sheet[:120, -20:] == theme.BACKGROUND).all()
