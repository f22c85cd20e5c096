"""Parameters for nav2: every key is one that nav2 declares, every topic one of obstacle_node's.

The keys were read by hand from nav2's public source (ros-navigation/navigation2):
costmap_2d_ros.cpp, static_layer.cpp, obstacle_layer.cpp, voxel_layer.cpp and inflation_layer.cpp of
nav2_costmap_2d, and collision_monitor_node.cpp, polygon.cpp, source.cpp and pointcloud.cpp of
nav2_collision_monitor.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_foresight_ros.topic_names import OBSTACLE_TOPICS

COSTMAP = {
    "always_send_full_costmap", "map_vis_z", "footprint_padding", "footprint", "global_frame",
    "height", "width", "lethal_cost_threshold", "observation_sources", "origin_x", "origin_y",
    "plugins", "filters", "publish_frequency", "resolution", "robot_base_frame", "robot_radius",
    "rolling_window", "track_unknown_space", "transform_tolerance", "initial_transform_timeout",
    "trinary_costmap", "unknown_cost_value", "update_frequency", "use_maximum", "use_sim_time",
}  # fmt: skip
STATIC = {
    "enabled", "subscribe_to_updates", "footprint_clearing_enabled", "restore_cleared_footprint",
    "map_topic", "map_subscribe_transient_local",
}  # fmt: skip
OBSTACLE = {
    "enabled", "footprint_clearing_enabled", "min_obstacle_height", "max_obstacle_height",
    "combination_method", "observation_sources", "tf_filter_tolerance",
}  # fmt: skip
VOXEL = OBSTACLE | {
    "z_voxels", "origin_z", "z_resolution", "unknown_threshold", "mark_threshold",
    "publish_voxel_map",
}  # fmt: skip
INFLATION = {
    "enabled", "inflation_radius", "cost_scaling_factor", "inflate_unknown",
    "inflate_around_unknown",
}  # fmt: skip
LAYERS = {
    "nav2_costmap_2d::StaticLayer": STATIC,
    "nav2_costmap_2d::ObstacleLayer": OBSTACLE,
    "nav2_costmap_2d::VoxelLayer": VOXEL,
    "nav2_costmap_2d::InflationLayer": INFLATION,
}
SOURCE = {
    "topic", "sensor_frame", "observation_persistence", "expected_update_rate", "data_type",
    "min_obstacle_height", "max_obstacle_height", "inf_is_valid", "marking", "clearing",
    "obstacle_max_range", "obstacle_min_range", "raytrace_max_range", "raytrace_min_range",
}  # fmt: skip
MONITOR = {
    "base_frame_id", "odom_frame_id", "cmd_vel_in_topic", "cmd_vel_out_topic", "state_topic",
    "transform_tolerance", "source_timeout", "base_shift_correction", "stop_pub_timeout",
    "polygons", "observation_sources", "use_sim_time", "enabled",
}  # fmt: skip
POLYGON = {
    "type", "points", "action_type", "enabled", "min_points", "visualize", "polygon_pub_topic",
    "polygon_sub_topic", "footprint_topic",
}  # fmt: skip
OF_ACTION = {
    "stop": set(),
    "slowdown": {"slowdown_ratio"},
    "limit": {"linear_limit", "angular_limit"},
    "approach": {"time_before_collision", "simulation_time_step"},
}
POINT_CLOUD = {"type", "topic", "enabled", "source_timeout", "min_height", "max_height"}
CLOUDS = {t.of_step(k) for t in OBSTACLE_TOPICS for k in range(1, 17) if "PointCloud2" in t.type}
GRIDS = {t.of_step(k) for t in OBSTACLE_TOPICS for k in range(1, 17) if "Occupancy" in t.type}


@pytest.fixture(scope="module")
def folder(project_root: Path) -> Path:
    return project_root / "config" / "nav2"


def parameters(path: Path) -> dict[str, Any]:
    """What stands below ros__parameters."""
    found = yaml.safe_load(path.read_text("utf-8"))
    while "ros__parameters" not in found:
        ((_, found),) = found.items()
    return found["ros__parameters"]


@pytest.mark.parametrize("name", ["local_costmap", "obstacle_layer"])
def test_costmaps_have_keys_that_nav2_declares(folder: Path, name: str) -> None:
    values = parameters(folder / f"{name}.yaml")
    layers = values["plugins"]
    assert set(values) <= COSTMAP | set(layers)
    assert layers[-1] == "inflation_layer"  # it inflates what the others put there
    for layer in layers:
        settings = dict(values[layer])
        known = LAYERS[settings.pop("plugin")]
        sources = str(settings.get("observation_sources", "")).split()
        assert set(settings) <= known | set(sources)
        if "map_topic" in settings:
            assert settings["map_topic"].lstrip("/") in GRIDS
            assert settings["map_subscribe_transient_local"]
            # A static layer takes a grid that is in the costmap's own frame.
            own = parameters(folder / "obstacle_node.yaml")
            assert own["grid_frame"] == values["global_frame"]
        for source in sources:
            assert set(settings[source]) <= SOURCE
            assert settings[source]["topic"].lstrip("/") in CLOUDS
            assert settings[source]["data_type"] == "PointCloud2"
            # Or its rays start on the floor, at the origin of the cloud's frame.
            assert "optical" in settings[source]["sensor_frame"]
            assert settings[source]["raytrace_max_range"] >= settings[source]["obstacle_max_range"]


def test_cells_that_no_camera_sees_do_not_stop_dwb(folder: Path) -> None:
    """BaseObstacleCritic (dwb_critics) refuses NO_INFORMATION as it does lethal cells."""
    assert parameters(folder / "local_costmap.yaml")["track_unknown_space"] is False


def test_the_nodes_own_file_has_its_parameters(folder: Path) -> None:
    known = parameters(folder.parent / "obstacle.yaml")
    assert parameters(folder / "obstacle_node.yaml").keys() <= known.keys()


def test_whole_numbers_are_numbers_of_the_types_that_nav2_declares(folder: Path) -> None:
    values = parameters(folder / "local_costmap.yaml")
    for name in ("width", "height", "lethal_cost_threshold"):
        assert type(values[name]) is int
    for name in ("update_frequency", "publish_frequency", "resolution", "transform_tolerance"):
        assert type(values[name]) is float
    voxels = values["voxel_layer"]
    assert voxels["z_voxels"] <= 16  # the bits of a column
    for name in ("origin_z", "z_resolution", "max_obstacle_height"):
        assert type(voxels[name]) is float


def test_the_collision_monitor_has_keys_that_nav2_declares(folder: Path) -> None:
    values = parameters(folder / "collision_monitor.yaml")
    polygons, sources = values["polygons"], values["observation_sources"]
    assert set(values) <= MONITOR | set(polygons) | set(sources)
    for polygon in polygons:
        settings = values[polygon]
        assert set(settings) <= POLYGON | OF_ACTION[settings["action_type"]]
        if "points" in settings:
            assert len(ast.literal_eval(settings["points"])) >= 4
        else:
            assert settings["action_type"] == "approach"
    for source in sources:
        settings = values[source]
        assert set(settings) <= POINT_CLOUD
        assert settings["type"] == "pointcloud"
        assert settings["topic"].lstrip("/") in CLOUDS
        assert settings["min_height"] < settings["max_height"]
