"""One picture of all cameras of a vehicle: what each sees, and what was forecast of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dino_foresight_ros.outputs import NORMALS
from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.render.contact_sheet import key_strip
from dino_foresight_ros.render.mosaic import places_before
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.style import DIM, Style
from dino_foresight_ros.render.text import draw_text, text_size, untrained_banner
from dino_foresight_ros.render.tile_grid import background
from dino_foresight_ros.render.tiles import CAMERA, fit, map_tile, marked, picture_of, row_names
from dino_foresight_ros.scene import ComparedForecast, ComparedStep

SURROUND_WIDTH = 1920
_TILES_ACROSS = 2
_ROWS = {"front": 0, "back": 2, "rear": 2}
_COLUMNS = {"left": 0, "right": 2}
_WORDS = {"cam", "camera", "center", "centre", "middle", "side", *_ROWS, *_COLUMNS}


def arrange(names: Sequence[str]) -> list[list[str | None]]:
    """Rows of cameras as they stand around a car that drives upwards; None leaves a place empty.

    Names tell where a camera stands (CAM_FRONT_LEFT, camera/rear). Where they do not, or two stand
    in one place, cameras follow one another in a grid.
    """
    places: dict[tuple[int, int], str] = {}
    for name in names:
        words = [word for word in re.split(r"[_/\W]+", name.lower()) if word]
        place = (
            next((_ROWS[word] for word in words if word in _ROWS), 1),
            next((_COLUMNS[word] for word in words if word in _COLUMNS), 1),
        )
        if not set(words) <= _WORDS or place == (1, 1):
            return _grid(names)
        places[place] = name
    if len(places) < len(names):
        return _grid(names)
    rows = sorted({row for row, _ in places})
    columns = sorted({column for _, column in places})
    return [[places.get((row, column)) for column in columns] for row in rows]


def _grid(names: Sequence[str]) -> list[list[str | None]]:
    across = next(n for n in range(1, len(names) + 1) if n * n >= len(names))
    padded = [*names, *[None] * (-len(names) % across)]
    return [list(padded[i : i + across]) for i in range(0, len(padded), across)]


class SurroundMosaic:
    """Draws forecasts of several cameras of one run, all pictures of the same size.

    Each camera has a cell: now and what then came above, classes and depth forecast for that
    instant beneath.
    """

    def __init__(
        self,
        style: Style,
        cameras: Sequence[str],
        step: int,
        aspect: float,
        width: int = SURROUND_WIDTH,
    ) -> None:
        """Fix the layout.

        Args:
            style: shared by all pictures.
            cameras: names.
            step: the step that is shown.
            aspect: width / height of the cameras' pictures.
            width: of a picture in pixels, even.
        """
        self._style, self._step = style, step
        self._places = arrange(cameras)
        self._margin, self._gap = round(width * 0.012), 2
        across = len(self._places[0])
        inner = width - 2 * self._margin
        self._cell_gap = max(6, width // 160)
        cell = (inner - (across - 1) * self._cell_gap) // across
        tile = (cell - self._gap) // _TILES_ACROSS
        self.tile_size = (round(tile / aspect), tile)
        self._heading = round(width * 0.0175)
        self._maps = [n for n in row_names(style) if n not in (CAMERA, NORMALS)]
        rows = 1 + -(-len(self._maps) // _TILES_ACROSS)
        self._cell = (self._heading + rows * (self.tile_size[0] + self._gap), cell)
        self._banner = 0 if style.trained else round(width * 0.022)
        every = range(len(style.palette.names)) if style.palette is not None else ()
        self._keys = key_strip(Style(style.palette, style.depth_scale), list(every), inner)
        keys = 0 if self._keys is None else len(self._keys) + self._margin
        cells = len(self._places) * (self._cell[0] + self._cell_gap)
        height = self._banner + self._margin // 2 + cells + keys
        # Video codecs need even sides.
        self.size = (height + height % 2, width + width % 2)
        """(height, width) of a picture."""

    def draw(self, forecasts: Mapping[str, ComparedForecast]) -> Picture:
        """(H, W, 3) uint8 of `size`; cameras without a forecast keep an empty place."""
        picture = background(*self.size)
        if self._banner:
            picture[: self._banner] = untrained_banner(self.size[1], self._banner)
        for row, names in enumerate(self._places):
            for column, name in enumerate(names):
                if name is None:
                    continue
                y = self._banner + self._margin // 2 + row * (self._cell[0] + self._cell_gap)
                x = self._margin + column * (self._cell[1] + self._cell_gap)
                cell = self._draw_cell(name, forecasts.get(name))
                picture[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        if self._keys is not None:
            top = self.size[0] - self._margin // 2 - len(self._keys)
            left = self._margin
            picture[top : top + len(self._keys), left : left + self._keys.shape[1]] = self._keys
        return picture

    def _draw_cell(self, name: str, forecast: ComparedForecast | None) -> Picture:
        cell = background(*self._cell)
        size = max(11, round(self._heading * 0.52))
        small, baseline = max(9, round(size * 0.85)), round(self._heading * 0.7)
        end = draw_text(cell, (0, baseline), name, size, anchor="ls", bold=True)[2]
        if forecast is not None:
            stamp = self._style.time_text(forecast.newest.stamp_ns)
            if forecast.latency_ms is not None:
                stamp = f"latency {forecast.latency_ms:.0f} ms   {stamp}"
            left = self._cell[1] - text_size(stamp, small)[0] - 2
            if left > end + size:
                draw_text(cell, (left, baseline), stamp, small, DIM, anchor="ls")
        for place, tile in enumerate(self._tiles(forecast)):
            row, column = divmod(place, _TILES_ACROSS)
            y = self._heading + row * (self.tile_size[0] + self._gap)
            x = column * (self.tile_size[1] + self._gap)
            cell[y : y + self.tile_size[0], x : x + self.tile_size[1]] = tile
        return cell

    def _tiles(self, forecast: ComparedForecast | None) -> list[Picture]:
        step = None if forecast is None else self._step_of(forecast)
        if forecast is None or step is None or forecast.newest.image is None:
            return [empty_panel(*self.tile_size, "no forecast")] * (2 + len(self._maps))
        now = beneath = fit(forecast.newest.image, self.tile_size)
        ahead = f"{step.predicted.horizon_s * 1000.0:.0f} ms"
        came = picture_of(step.arrived)
        if came is None:
            arrived = empty_panel(*self.tile_size, f"frame {ahead} later: not seen")
        else:
            beneath = fit(came, self.tile_size)
            arrived = marked(beneath, f"{ahead} later")
        tiles = [marked(now, "now"), arrived]
        before = places_before(forecast, step.predicted.step)
        for name in self._maps:
            tile = map_tile(name, step.predicted, beneath, self._style, before)
            tiles.append(marked(tile, f"forecast of {name} in {ahead}"))
        return tiles

    def _step_of(self, forecast: ComparedForecast) -> ComparedStep | None:
        """The step that is shown."""
        return next((s for s in forecast.steps if s.predicted.step == self._step), None)
