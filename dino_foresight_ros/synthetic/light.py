"""Sun, sky and air: what a scene is lit by, from the hour and the weather."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.faces import Array
from dino_foresight_ros.synthetic.noise import fractal, rgb

Color = NDArray[np.float32]

_CLOUD_TILE = 512


@dataclass(frozen=True)
class Light:
    """Colours are factors (r, g, b) for light and grey levels for the sky."""

    to_sun: Array  # (3,) unit vector in the world
    sun: Color
    ambient: Color
    zenith: Color
    horizon: Color
    cloud: Color
    cloud_cover: float  # subtracted from cloud noise; lower means more clouds
    fog_per_m: float
    clouds: NDArray[np.float32]  # (512, 512) wrapping, deviation 1


def choose_light(seed: int, conditions: Conditions) -> Light:
    """Light of an hour and a weather."""
    rng = np.random.default_rng([seed, 16])
    c = conditions
    elevation = np.radians(max(4.0, 56.0 * np.sin(np.pi * (c.hour - 5.5) / 15.0) - 4.0))
    azimuth = np.radians(c.sun_azimuth_deg)
    to_sun = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    warmth = float(np.clip(1 - np.degrees(elevation) / 26.0, 0.0, 1.0))
    day = float(np.clip(np.degrees(elevation) / 22.0, 0.3, 1.0))
    direct = {"clear": 1.0, "cloudy": 0.72, "overcast": 0.14, "fog": 0.12, "wet": 0.2}[c.weather]
    noon, low = rgb((1.0, 0.96, 0.9)), rgb((1.0, 0.72, 0.46))
    sun = (noon + (low - noon) * warmth) * 0.82 * direct * (0.45 + 0.55 * day)
    lift = 0.58 + 0.2 * (1 - direct)
    ambient = rgb((0.92, 0.97, 1.08)) * lift * (0.6 + 0.4 * day)
    gray = c.weather in ("overcast", "fog", "wet")
    zenith = rgb((172, 178, 186)) if gray else rgb((74, 120, 186))
    horizon = rgb((206, 208, 210)) if gray else rgb((190, 208, 226))
    glow = rgb((246, 206, 160))
    if not gray:
        horizon = horizon + (glow - horizon) * warmth * 0.7
    # As a camera's automatic exposure does, keep the lit ground about equally bright at all hours.
    ground = float((sun * to_sun[2] + ambient).mean())
    auto = (1.3 / ground) ** 0.8
    sun, ambient = sun * auto, ambient * auto
    dim = 0.72 + 0.28 * day
    fog = {"clear": 1 / 900, "cloudy": 1 / 700, "overcast": 1 / 420, "fog": 1 / 75, "wet": 1 / 260}
    sky = np.float32(rng.uniform(0.9, 1.35))
    cover = {"clear": rng.uniform(0.5, 1.8), "cloudy": rng.uniform(-0.4, 0.3)}
    return Light(
        to_sun=to_sun,
        sun=sun.astype(np.float32),
        ambient=ambient.astype(np.float32),
        zenith=zenith * sky * np.float32(dim),
        horizon=horizon.astype(np.float32) * sky * np.float32(dim),
        cloud=rgb((244, 242, 240)) * sky * np.float32(dim * (0.84 if gray else 1.0)),
        cloud_cover=float(cover.get(c.weather, -1.0)),
        fog_per_m=float(fog[c.weather] * rng.uniform(0.7, 1.4)),
        clouds=fractal(rng, _CLOUD_TILE, _CLOUD_TILE, 1.25),
    )


def sky(light: Light, rays: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sky colours (H, W, 3) in grey levels for unit world directions (H, W, 3)."""
    up = np.maximum(rays[..., 2], 0.0)
    fraction = np.minimum(np.sqrt(up) * np.float32(1.25), 1.0)[..., None]
    color = light.horizon + (light.zenith - light.horizon) * fraction
    # Clouds lie on a plane far above, so that they crowd together towards the horizon.
    far = np.float32(42.0) / (up + np.float32(0.09))
    noise = cv2.remap(
        light.clouds,
        rays[..., 0] * far,
        rays[..., 1] * far,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    noise -= np.float32(light.cloud_cover)
    cover = np.clip(noise * np.float32(0.8), 0.0, 1.0)
    cover *= np.minimum(up * np.float32(14.0), 0.92)
    shade = 1.0 - np.float32(0.16) * np.clip(noise - np.float32(0.9), 0.0, 1.5)
    color += (light.cloud * shade[..., None] - color) * cover[..., None]
    toward = np.maximum(rays @ light.to_sun.astype(np.float32), 0.0)
    square = toward * toward
    wide = square * square * square  # ** 6
    disc = wide
    for _ in range(5):  # ** 192
        disc = disc * disc
    glow = (np.float32(42.0) * wide + np.float32(144.0) * disc) * (1 - np.float32(0.7) * cover)
    color += glow[..., None] * light.sun
    return color
