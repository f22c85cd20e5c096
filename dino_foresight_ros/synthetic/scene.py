"""What stands beside the road, stretch by stretch. A stretch depends on its number and the seed."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from dino_foresight_ros.synthetic import foliage
from dino_foresight_ros.synthetic.faces import Array, Faces, by_corner_count
from dino_foresight_ros.synthetic.road_users import Obstacle
from dino_foresight_ros.synthetic.roadside import CELL_M, Cell, Roadside
from dino_foresight_ros.synthetic.setting import Setting

_KEPT_CELLS = 48


class Scenery:
    """Static cells, made when first seen and kept while near."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._far: tuple[tuple[int, int], list[Faces]] | None = None
        self._cells: OrderedDict[int, Cell] = OrderedDict()
        self._joined: tuple[tuple[int, int], list[Faces], Array] | None = None

    def between(self, s0: float, s1: float) -> tuple[list[Faces], Array]:
        """Polygons and shadow outlines of all cells that touch [s0, s1]."""
        span = (max(int(s0 // CELL_M), 0), int(s1 // CELL_M) + 1)
        if self._joined is None or self._joined[0] != span:
            cells = [self._cell(i) for i in range(*span)]
            groups = by_corner_count([g for cell in cells for g in cell.groups])
            self._joined = (span, groups, np.concatenate([cell.shadows for cell in cells]))
        return self._joined[1], self._joined[2]

    def parked(self, s0: float, s1: float) -> list[Obstacle]:
        """Outlines of the vehicles parked in all cells that touch [s0, s1]."""
        span = range(max(int(s0 // CELL_M), 0), int(s1 // CELL_M) + 1)
        return [one for i in span for one in self._cell(i).parked]

    def far(self, s0: float, s1: float) -> list[Faces]:
        """Distant rows of trees, beyond where cells are built in full, up to `s1`."""
        step = 2 * CELL_M
        span = (max(int(s0 // step), 0), int(s1 // step) + 1)
        if self._far is None or self._far[0] != span:
            rows = [row for i in range(*span) for row in self._far_rows(i, step)]
            self._far = (span, by_corner_count(rows))
        return self._far[1]

    def _far_rows(self, index: int, step: float) -> list[Faces]:
        setting = self._setting
        rng = np.random.default_rng([setting.seed, 20, index])
        reach = {"urban": 46.0, "suburban": 52.0, "rural": 66.0, "highway": 62.0}
        rows = []
        for side in (1, -1):
            for near in (reach[setting.conditions.scene], 110.0, 190.0):
                s = index * step + rng.uniform(-8, 8, 2) + (0, step)
                d = side * (near + rng.uniform(-6, 14, 2))
                # On the inside of a bend such a row could lie across the road.
                headings = setting.road.pose(np.array([s[0], s[1] + 60.0]))[:, 2]
                if abs(headings[1] - headings[0]) > 0.12 or rng.random() < 0.2:
                    continue
                ends = setting.road.point(s, d)[:, :2]
                height = rng.uniform(4.0, 9.0) * (1.0 if near < 100 else 1.5)
                rows.append(foliage.tree_line(rng, setting.materials, ends[0], ends[1], height))
        return rows

    def _cell(self, index: int) -> Cell:
        if index not in self._cells:
            self._cells[index] = Roadside(self._setting, index).build()
            while len(self._cells) > _KEPT_CELLS:
                self._cells.popitem(last=False)
        self._cells.move_to_end(index)
        return self._cells[index]
