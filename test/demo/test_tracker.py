from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.demo.tracker import ForecastTracker
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

STEP_S = 0.2
FRAME_S = 0.1


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def frame(number: int) -> np.ndarray:
    """A picture that tells its number."""
    return np.full((4, 8, 3), number % 256, np.uint8)


def number_of(picture: np.ndarray | None) -> int | None:
    return None if picture is None else int(picture[0, 0, 0])


def views(stamp_ns: int, count: int = 3) -> list[Scene]:
    return [
        Scene(stamp_ns + ns(STEP_S * k), step=k, horizon_s=STEP_S * k) for k in range(1, count + 1)
    ]


def came(step: ComparedStep) -> np.ndarray | None:
    return None if step.arrived is None else step.arrived.image


class Stream:
    """Frames every 0.1 s, each forecast `delay` frames after it came."""

    def __init__(self, spacing_s: float = 0.0) -> None:
        self.forecasts: list[ComparedForecast] = []
        self.tracker = ForecastTracker(self.forecasts.append, spacing_s)

    def run(self, count: int, delay: int = 0, start_s: float = 100.0, first: int = 0) -> None:
        for index in range(count + delay):
            if index < count:
                self.tracker.add_frame(ns(start_s + index * FRAME_S), frame(first + index))
            stamp_ns = ns(start_s + (index - delay) * FRAME_S)
            if index >= delay and self.tracker.wants(stamp_ns):
                self.tracker.add_forecast(stamp_ns, views(stamp_ns), STEP_S, 1.0)


@pytest.mark.parametrize("delay", [0, 1, 4, 12])
def test_each_forecast_meets_the_frames_of_its_instants(delay: int) -> None:
    stream = Stream()
    stream.run(20, delay)
    stream.tracker.flush()
    assert len(stream.forecasts) == 20
    for index, forecast in enumerate(stream.forecasts):
        assert number_of(forecast.newest.image) == index
        expected = [index + 2 * k if index + 2 * k < 20 else None for k in (1, 2, 3)]
        assert [number_of(came(step)) for step in forecast.steps] == expected


def test_forecasts_come_as_soon_as_their_last_instant_has_passed() -> None:
    stream = Stream()
    stream.run(8)
    # The last instant of frame 0 is frame 6; frame 7 shows that nothing nearer can come.
    assert [number_of(m.newest.image) for m in stream.forecasts] == [0]


def test_a_frame_far_from_every_instant_is_not_taken_for_it() -> None:
    forecasts: list[ComparedForecast] = []
    tracker = ForecastTracker(forecasts.append, 0.0)
    tracker.add_frame(0, frame(0))
    tracker.add_forecast(0, views(0), STEP_S, None)
    # Off by half an interval from step 1 and 2, by a tenth from step 3.
    for number, time_s in ((1, 0.3), (2, 0.62)):
        tracker.add_frame(ns(time_s), frame(number))
    tracker.flush()
    assert [number_of(came(step)) for step in forecasts[0].steps] == [None, None, 2]


def test_the_nearest_of_several_frames_is_taken() -> None:
    forecasts: list[ComparedForecast] = []
    tracker = ForecastTracker(forecasts.append, 0.0)
    tracker.add_frame(0, frame(0))
    tracker.add_forecast(0, views(0, 1), STEP_S, None)
    for number, time_s in ((1, 0.15), (2, 0.19), (3, 0.22)):
        tracker.add_frame(ns(time_s), frame(number))
    tracker.flush()
    assert number_of(came(forecasts[0].steps[0])) == 2


def test_forecasts_are_thinned_to_the_spacing() -> None:
    stream = Stream(spacing_s=0.3)
    stream.run(30)
    stream.tracker.flush()
    assert [number_of(m.newest.image) for m in stream.forecasts] == list(range(0, 30, 3))


def test_after_a_jump_back_nothing_is_mixed_with_what_came_before() -> None:
    stream = Stream()
    stream.run(10, start_s=100.0)
    # The stamps of the second set lie where the first set's forecasts look.
    stream.run(10, start_s=100.5, first=100)
    stream.tracker.flush()
    assert len(stream.forecasts) == 20
    for index, forecast in enumerate(stream.forecasts):
        seen = [number_of(came(step)) for step in forecast.steps]
        assert all(n is None or (n >= 100) == (index >= 10) for n in seen)


def test_a_forecast_from_a_frame_that_is_not_known_is_not_wanted() -> None:
    tracker = ForecastTracker(lambda forecast: None, 0.0)
    tracker.add_frame(ns(1.0), frame(0))
    assert not tracker.wants(ns(2.0))
    assert tracker.wants(ns(1.0))


@pytest.mark.slow
def test_frames_are_kept_small_and_forecasts_few() -> None:
    done: list[ComparedForecast] = []
    tracker = ForecastTracker(done.append, 0.0)
    large = np.zeros((720, 1280, 3), np.uint8)
    for index in range(200):
        tracker.add_frame(ns(index * FRAME_S), large)
        tracker.add_forecast(ns(index * FRAME_S), views(ns(index * FRAME_S) + ns(1e6)), 0.2, 1.0)
    assert len(done) == 200 - 64
    assert all(one.newest.image is not None and one.newest.image.shape[1] <= 640 for one in done)
    assert not tracker.wants(0)


def test_pictures_are_decoded_only_when_a_forecast_needs_them_and_once() -> None:
    forecasts: list[ComparedForecast] = []
    decoded: list[int] = []
    tracker = ForecastTracker(forecasts.append, 0.0)

    def load(number: int) -> np.ndarray:
        decoded.append(number)
        return frame(number)

    for number in range(10):
        tracker.add_frame(ns(number * FRAME_S), lambda n=number: load(n))
        if number in (2, 4):
            tracker.add_forecast(ns(number * FRAME_S), views(ns(number * FRAME_S), 1), STEP_S, 1.0)
    tracker.flush()
    assert [number_of(m.newest.image) for m in forecasts] == [2, 4]
    assert [number_of(came(m.steps[0])) for m in forecasts] == [4, 6]
    assert sorted(decoded) == [2, 4, 6]


def test_a_broken_picture_counts_as_one_that_did_not_come() -> None:
    forecasts: list[ComparedForecast] = []
    tracker = ForecastTracker(forecasts.append, 0.0)

    def broken() -> np.ndarray:
        raise InputError("broken")

    tracker.add_frame(0, frame(0))
    tracker.add_forecast(0, views(0, 2), STEP_S, None)
    tracker.add_frame(ns(0.2), broken)
    tracker.add_frame(ns(0.4), frame(2))
    tracker.add_forecast(ns(0.2), views(ns(0.2), 2), STEP_S, None)
    tracker.flush()
    (forecast,) = forecasts
    assert [number_of(came(step)) for step in forecast.steps] == [None, 2]


def test_truth_and_features_meet_the_step_they_are_of() -> None:
    forecasts: list[ComparedForecast] = []
    tracker = ForecastTracker(forecasts.append, 0.0)
    for number in range(5):
        stamp_ns = ns(number * STEP_S)
        tracker.add_truth(stamp_ns, segmentation=np.full((2, 2), number, np.uint8))
        tracker.add_truth(stamp_ns, depth=np.full((2, 2), 10.0 + number, np.float32))
        tracker.add_frame(stamp_ns, frame(number))
        # Features may come before their forecast or after it.
        if number % 2:
            tracker.add_features(stamp_ns, 2, np.full((1, 1, 1), number))
        tracker.add_forecast(stamp_ns, views(stamp_ns, 2), STEP_S, 1.0)
        if not number % 2:
            tracker.add_features(stamp_ns, 2, np.full((1, 1, 1), number))
    tracker.flush()
    for number, forecast in enumerate(forecasts):
        for view in forecast.steps:
            place = number + view.predicted.step
            assert (view.truth is not None) == (place < 5)
            if view.truth is not None:
                assert view.truth.segmentation is not None
                assert view.truth.depth is not None
                assert view.truth.segmentation[0, 0] == place
                assert view.truth.depth[0, 0] == 10.0 + place
        first, second = forecast.steps
        assert first.predicted.features is None
        assert second.predicted.features is not None
        assert second.predicted.features.item() == number
