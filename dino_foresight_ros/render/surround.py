"""All cameras of a vehicle in one picture: what each sees, and what was forecast of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.banner import untrained_banner
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.sheet import key_strip, space
from dino_foresight_ros.render.text import draw_text, text_size
from dino_foresight_ros.render.tiles import CAMERA, NORMALS, fit, map_tile, mark, row_names
from dino_foresight_ros.render.views import Look, Moment, StepView

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
    """Draws moments of several cameras of one run, all pictures of the same size.

    Each camera has a cell: now and what then came above, classes and depth forecast for that
    instant beneath.
    """

    def __init__(
        self,
        look: Look,
        cameras: Sequence[str],
        step: int,
        aspect: float,
        width: int = SURROUND_WIDTH,
    ) -> None:
        """Fix the layout.

        Args:
            look: colours shared by all pictures.
            cameras: names.
            step: the step that is shown.
            aspect: width / height of the cameras' pictures.
            width: of a picture in pixels, even.
        """
        self._look, self._step = look, step
        self._places = arrange(cameras)
        self._margin, self._gap = round(width * 0.012), 2
        across = len(self._places[0])
        inner = width - 2 * self._margin
        self._cell_gap = max(6, width // 160)
        cell = (inner - (across - 1) * self._cell_gap) // across
        tile = (cell - self._gap) // _TILES_ACROSS
        self._tile = (round(tile / aspect), tile)
        self._heading = round(width * 0.0175)
        self._maps = [n for n in row_names(look) if n not in (CAMERA, NORMALS)]
        rows = 1 + -(-len(self._maps) // _TILES_ACROSS)
        self._cell = (self._heading + rows * (self._tile[0] + self._gap), cell)
        self._banner = 0 if look.trained else round(width * 0.022)
        every = range(len(look.palette.names)) if look.palette is not None else ()
        self._keys = key_strip(Look(look.palette, look.scale), list(every), inner)
        keys = 0 if self._keys is None else len(self._keys) + self._margin
        cells = len(self._places) * (self._cell[0] + self._cell_gap)
        height = self._banner + self._margin // 2 + cells + keys
        # Video codecs need even sides.
        self.size = (height + height % 2, width + width % 2)
        """(height, width) of a picture."""

    def draw(self, moments: Mapping[str, Moment]) -> Picture:
        """(H, W, 3) uint8 of `size`; cameras without a moment keep an empty place."""
        picture = space(self.size[1], self.size[0])
        if self._banner:
            picture[: self._banner] = untrained_banner(self.size[1], self._banner)
        for row, names in enumerate(self._places):
            for column, name in enumerate(names):
                if name is None:
                    continue
                y = self._banner + self._margin // 2 + row * (self._cell[0] + self._cell_gap)
                x = self._margin + column * (self._cell[1] + self._cell_gap)
                cell = self._draw_cell(name, moments.get(name))
                picture[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        if self._keys is not None:
            top = self.size[0] - self._margin // 2 - len(self._keys)
            left = self._margin
            picture[top : top + len(self._keys), left : left + self._keys.shape[1]] = self._keys
        return picture

    def _draw_cell(self, name: str, moment: Moment | None) -> Picture:
        cell = space(self._cell[1], self._cell[0])
        size = max(11, round(self._heading * 0.52))
        small, baseline = max(9, round(size * 0.85)), round(self._heading * 0.7)
        end = draw_text(cell, (0, baseline), name, size, anchor="ls", bold=True)[2]
        view: StepView | None = None
        if moment is not None:
            view = next((v for v in moment.steps if v.step == self._step), None)
            stamp = self._look.time_text(moment.stamp_ns)
            if moment.latency_ms is not None:
                stamp = f"latency {moment.latency_ms:.0f} ms   {stamp}"
            left = self._cell[1] - text_size(stamp, small)[0] - 2
            if left > end + size:
                draw_text(cell, (left, baseline), stamp, small, theme.DIM, anchor="ls")
        for place, tile in enumerate(self._tiles(moment, view)):
            row, column = divmod(place, _TILES_ACROSS)
            y = self._heading + row * (self._tile[0] + self._gap)
            x = column * (self._tile[1] + self._gap)
            cell[y : y + self._tile[0], x : x + self._tile[1]] = tile
        return cell

    def _tiles(self, moment: Moment | None, view: StepView | None) -> list[Picture]:
        if moment is None or view is None:
            return [empty_panel(*self._tile, "no forecast")] * (2 + len(self._maps))
        now = fit(moment.image, self._tile)
        ahead = f"{view.horizon_s * 1000.0:.0f} ms"
        if view.arrived is None:
            came = empty_panel(*self._tile, f"frame {ahead} later: not seen")
            beneath = now
        else:
            beneath = fit(view.arrived, self._tile)
            came = mark(beneath.copy(), f"{ahead} later")
        tiles = [mark(now.copy(), "now"), came]
        for name in self._maps:
            tile = np.ascontiguousarray(map_tile(name, view, beneath, self._look))
            tiles.append(mark(tile, f"forecast of {name} in {ahead}"))
        return tiles
