"""What the engine should give: a plain loop over the model that encodes every frame anew."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Forecast, Foresight

MS = 1_000_000
START = 10**18
Stream = list[tuple[np.ndarray, int]]
ALL = frozenset({"segmentation", "confidence", "depth", "normals", "features"})


def video(count: int, seed: int = 0) -> list[np.ndarray]:
    """Blobs that move over noise: frames that differ, and differ smoothly."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (60, 400, 3), dtype=np.uint8)
    return [np.ascontiguousarray(noise[:, 2 * i : 2 * i + 100]) for i in range(count)]


def plain(bundle: Bundle, stream: Stream, steps: int) -> list[dict | None]:
    """For each frame: choose the context by trying all combinations, encode it, forecast."""
    results: list[dict | None] = []
    interval = round(bundle.frame_interval_s * 1e9)
    for n in range(1, len(stream) + 1):
        newest = stream[n - 1][1]
        best = None
        for combination in itertools.combinations(range(max(0, n - 24), n), 4):
            if combination[-1] != n - 1:
                continue
            errors = [
                abs(stream[i][1] - (newest - k * interval))
                for k, i in enumerate(reversed(combination))
            ]
            if max(errors) <= 0.45 * interval and (best is None or sum(errors) < best[0]):
                best = (sum(errors), combination)
        results.append(None if best is None else _forecast(bundle, stream, best[1], steps))
    return results


@torch.inference_mode()
def _forecast(bundle: Bundle, stream: Stream, indices: tuple[int, ...], steps: int) -> dict:
    frames = [bundle.encoder.preprocess(stream[i][0][None]) for i in indices]
    z = [bundle.pca.transform(bundle.encoder(frame)) for frame in frames]
    rolled = bundle.forecaster.rollout(torch.stack(z, dim=1), steps)
    features = bundle.pca.inverse(rolled[:, -1])
    decoded: dict = {"features": rolled[0, -1].numpy()}
    for name, head in bundle.heads.items():
        maps = bundle.tasks[name].decode(head(features))
        decoded |= {key: value[0].numpy() for key, value in maps.items()}
    return decoded


def check(forecast: Forecast | None, expected: dict | None) -> None:
    assert (forecast is None) == (expected is None)
    if forecast is None or expected is None:
        return
    last = forecast.steps[-1]
    for name in ("features", "confidence", "normals"):
        np.testing.assert_allclose(getattr(last, name), expected[name], atol=1e-4)
    np.testing.assert_allclose(last.depth, expected["depth"], rtol=1e-4)
    assert np.mean(last.segmentation != expected["segmentation"]) < 1e-3


def streams() -> dict[str, Stream]:
    rng = np.random.default_rng(1)
    steady = [START + round(i * 1e9 / 30) for i in range(26)]
    jittered = [s + int(rng.integers(-9 * MS, 9 * MS)) for s in steady]
    dropped = [s for i, s in enumerate(steady) if i % 3]
    return {
        name: list(zip(video(len(stamps)), stamps, strict=True))
        for name, stamps in {"steady": steady, "jittered": jittered, "dropped": dropped}.items()
    }


def check_equal(forecast: Forecast, expected: Forecast) -> None:
    """Equal but for the rounding of another batch size."""
    assert forecast.context_stamps_ns == expected.context_stamps_ns
    assert len(forecast.steps) == len(expected.steps)
    for step, want in zip(forecast.steps, expected.steps, strict=True):
        assert step.target_stamp_ns == want.target_stamp_ns
        for name in ("features", "confidence", "normals", "depth", "segmentation"):
            ours, theirs = getattr(step, name), getattr(want, name)
            assert (ours is None) == (theirs is None), name
            if ours is None:
                continue
            assert ours.shape == theirs.shape
            if name == "segmentation":
                assert np.mean(ours != theirs) < 1e-3
            else:
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def fill(engine: Foresight, count: int = 4, start: int = START, seed: int = 0) -> Forecast | None:
    forecast = None
    for i, image in enumerate(video(count, seed)):
        forecast = engine.update(image, start + i * 200 * MS)
    return forecast
