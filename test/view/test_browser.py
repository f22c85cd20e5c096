"""The page in a real browser: it loads, data arrives, and what is seen is what was shown.

Skipped where there is no Chromium; `FORESIGHT_CHROMIUM` names one that is not on the path.
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from chromium import PROGRAMS, Page, find_browser
from optional import NEEDS_RERUN

from dino_foresight_ros.render.colors import ClassPalette
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.view import web_page as view_page
from dino_foresight_ros.view.blueprint import ShownCamera
from dino_foresight_ros.view.rerun_stream import RerunStream
from dino_foresight_ros.view.scene_log import Intrinsics, SceneLog
from dino_foresight_ros.view.server import ViewerServer, free_port

pytestmark = [pytest.mark.process, NEEDS_RERUN]

# A software rasteriser on a busy machine takes its time.
LIMIT_S = 240.0
STAMP_NS = 1_700_000_000_000_000_000
# Colours that the viewer's own surface does not have.
PICTURE, ROAD, CAR = (250, 0, 250), (0, 250, 20), (20, 90, 250)
SIZE = (90, 160)


@pytest.fixture(scope="module")
def data_and_page() -> Iterator[tuple[ViewerServer, view_page.Page]]:
    data_port = free_port()
    with ViewerServer("127.0.0.1", data_port, "100MB") as server:
        page = view_page.Page("127.0.0.1", free_port(), server.files_url, data_port)
        yield server, page
        page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is on the path")
    # Few pixels: they are drawn by software.
    with Page(program, (900, 600)) as page:
        yield page


@pytest.fixture
def recording(data_and_page: tuple[ViewerServer, view_page.Page]) -> Iterator[RerunStream]:
    recording = RerunStream(data_and_page[0].data_url)
    yield recording
    recording.close()


def show(recording: RerunStream, stamp_ns: int) -> None:
    """One moment: a picture of one colour, two classes side by side, a slope of depth."""
    log = SceneLog(recording.stream)
    log.set_classes(ClassPalette(("road", "car"), (ROAD, CAR)))
    log.set_camera(Intrinsics(np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]), SIZE))
    log.add_picture(stamp_ns, np.full((*SIZE, 3), PICTURE, np.uint8))
    ids = np.zeros((18, 32), np.uint8)
    ids[:, 16:] = 1
    depth = np.linspace(3, 60, 18 * 32, dtype=np.float32).reshape(18, 32)
    scene = Scene(0, step=1, horizon_s=0.2, segmentation=ids, depth=depth, depth_is_metric=True)
    log.add_step(stamp_ns, scene)
    log.add_points(stamp_ns, np.array([[0, 0, 10]], np.float32), np.array([1], np.uint8))
    log.add_numbers(stamp_ns, {"latency_ms": 20.0})
    recording.lay_out([ShownCamera(steps=((1, 0.2),), has_segmentation=True, has_depth=True)])
    recording.stream.flush(timeout_sec=10.0)


def share(png: bytes, color: tuple[int, int, int]) -> float:
    """Share of a picture's pixels within 12 levels of a colour."""
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    off = np.abs(bgr[..., ::-1].astype(int) - np.array(color)).max(axis=-1)
    return float((off <= 12).mean())


def test_what_is_shown_appears_in_the_page_and_nothing_goes_elsewhere(
    data_and_page: tuple[ViewerServer, view_page.Page], recording: RerunStream, browser: Page
) -> None:
    server, page = data_and_page
    show(recording, STAMP_NS)
    browser.open(page.url)
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        png = browser.screenshot()
        shares = {color: share(png, color) for color in (PICTURE, ROAD, CAR)}
        if min(shares.values()) > 0.02:
            break
        assert time.monotonic() < deadline_s, (shares, browser.errors)
        time.sleep(0.5)
    # The picture fills half of the upper row, each class a quarter of it.
    assert shares[PICTURE] == pytest.approx(shares[ROAD] + shares[CAR], rel=0.25)
    data = f"{urllib.parse.urlsplit(server.data_url.removeprefix('rerun+')).netloc}"
    arrived = {url: count for url, count in browser.received_bytes.items() if data in url}
    assert sum(arrived.values()) > 1000
    # Of other machines nothing is asked: the browser itself blocks what rerun's page would.
    hosts = {urllib.parse.urlsplit(url).hostname for url in browser.received_bytes}
    assert hosts <= {"127.0.0.1", None, ""}


def test_time_goes_on_as_data_comes(
    data_and_page: tuple[ViewerServer, view_page.Page], recording: RerunStream, browser: Page
) -> None:
    _, page = data_and_page
    show(recording, STAMP_NS)
    browser.open(page.url)
    wait_for(browser, PICTURE)
    log = SceneLog(recording.stream)
    log.add_picture(STAMP_NS + 10**9, np.full((*SIZE, 3), (250, 120, 0), np.uint8))
    recording.stream.flush(timeout_sec=10.0)
    wait_for(browser, (250, 120, 0))


def wait_for(browser: Page, color: tuple[int, int, int]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while share(browser.screenshot(), color) < 0.02:
        assert time.monotonic() < deadline_s, browser.errors
        time.sleep(0.5)
