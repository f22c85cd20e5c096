"""Objects drawn on pictures: where, in which colour, and with an arrow from where they were."""

from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.render.mosaic import Mosaic, places_before
from dino_foresight_ros.render.objects import draw_objects, object_color, places_of
from dino_foresight_ros.render.style import Style
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Detection, Scene

SIZE = (24, 40)
GREY: Picture = np.full((240, 400, 3), 90, np.uint8)


def scene(step: int, *objects: tuple[int, int, int]) -> Scene:
    """Squares of 5 pixels: (id, x, y of the centre)."""
    ids = np.zeros(SIZE, np.uint16)
    found = []
    for number, x, y in objects:
        ids[y - 2 : y + 3, x - 2 : x + 3] = number
        found.append(Detection(number, 1, 0.9, (x - 2, y - 2, 5, 5), (x, y)))
    return Scene(step, step=step, horizon_s=0.2 * step, instances=ids, detections=tuple(found))


def is_painted(drawn: Picture, number: int) -> np.ndarray:
    """Which pixels have an id's colour, or nearly: lines are smooth."""
    off = np.abs(drawn.astype(int) - object_color(number)).max(axis=-1)
    return np.asarray(off < 60)


def painted(drawn: Picture, number: int) -> np.ndarray:
    return np.argwhere(is_painted(drawn, number))


def test_an_outline_goes_around_the_mask_in_the_ids_colour() -> None:
    drawn = draw_objects(GREY, scene(0, (3, 10, 12), (4, 30, 12)))
    for number, x in ((3, 10), (4, 30)):
        rows, columns = painted(drawn, number).T
        assert (columns.min(), columns.max()) == pytest.approx((10 * (x - 2), 10 * (x + 3)), abs=3)
        assert rows.max() == pytest.approx(10 * 15, abs=3)
        inside = drawn[110:140, 10 * x - 10 : 10 * x + 20]
        assert (inside == 90).all()  # only outlined
    assert (GREY == 90).all()


def test_ids_beside_each_other_have_colours_that_differ() -> None:
    colors = np.array([object_color(n) for n in range(1, 40)], int)
    assert min(np.abs(np.diff(colors, axis=0)).sum(axis=1)) > 120
    assert object_color(65535) == object_color(65535)


def test_an_arrow_leads_from_where_it_was_and_none_where_that_is_not_known() -> None:
    now, then = scene(0, (3, 8, 12)), scene(2, (3, 30, 12), (4, 20, 5))
    drawn = draw_objects(GREY, then, places_of([now]))
    assert is_painted(drawn[120:131, 150:250], 3).any(axis=0).all()
    assert (draw_objects(GREY, then)[120:131, 150:250] == 90).all()


def test_a_short_arrow_is_left_out_of_a_small_picture() -> None:
    """It would be a blot on the object that it is about."""
    now, then = scene(0, (3, 20, 12)), scene(1, (3, 21, 12))
    small = np.full((120, 200, 3), 90, np.uint8)
    assert np.array_equal(draw_objects(small, then, places_of([now])), draw_objects(small, then))


def test_a_number_of_any_colour_is_read_on_its_dark_ground() -> None:
    for number in range(1, 9):
        tag = draw_objects(GREY, scene(0, (number, 20, 12)))[80:97].reshape(-1, 3).astype(int)
        light, dark = tag.min(axis=1).max(), tag.max(axis=1).min()
        assert light - dark > 80, number


def test_a_far_object_has_an_outline_and_no_number() -> None:
    ids = np.zeros(SIZE, np.uint16)
    ids[12, 20] = 3
    far = Scene(0, instances=ids, detections=(Detection(3, 1, 0.9, (20, 12, 1, 1), (20, 12)),))
    drawn = draw_objects(GREY, far)
    assert len(painted(drawn, 3)) > 20
    assert (drawn[:112] == 90).all()
    assert (draw_objects(GREY, scene(0, (3, 20, 12)))[80:96] != 90).any()  # a number above


def test_nothing_found_leaves_the_picture() -> None:
    for one in (Scene(0), scene(0), Scene(0, segmentation=np.zeros(SIZE, np.uint8))):
        assert np.array_equal(draw_objects(GREY, one), GREY)


def test_a_mosaic_has_a_row_of_objects_with_arrows_from_now() -> None:
    style = Style(None, None, has_instances=True)
    newest = Scene(0, image=GREY, instances=scene(0, (3, 8, 12)).instances,
                   detections=scene(0, (3, 8, 12)).detections)  # fmt: skip
    steps = tuple(ComparedStep(scene(k, (3, 8 + 8 * k, 12))) for k in (1, 2))
    forecast = ComparedForecast(newest, steps)
    assert places_before(forecast, 2)[3] == pytest.approx((8.5 / 40, 12.5 / 24))
    mosaic = Mosaic(style, [1, 2], 400 / 240, 900)
    assert len(painted(mosaic.draw(forecast), 3)) > 500
