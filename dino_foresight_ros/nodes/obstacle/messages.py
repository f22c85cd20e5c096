"""Messages of obstacles: grids, contacts."""

from __future__ import annotations

import array
import math

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3
from nav_msgs.msg import MapMetaData, OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import Range
from std_msgs.msg import Header

from dino_foresight_ros.classes import class_name
from dino_foresight_ros.msg import TimeToContact
from dino_foresight_ros.obstacles import Footprint, GridSpec, Sweep
from dino_foresight_ros.obstacles.grid import Cells

FIELD_OF_VIEW_RAD = 0.1


def grid_message(cells: Cells, spec: GridSpec, header: Header, floor_m: float) -> OccupancyGrid:
    """A grid whose axes are those of the header's frame."""
    x, y = spec.origin
    data = array.array("b")
    data.frombytes(np.ascontiguousarray(cells).tobytes())
    return OccupancyGrid(
        header=header,
        info=MapMetaData(
            map_load_time=Time(sec=header.stamp.sec, nanosec=header.stamp.nanosec),
            resolution=spec.resolution_m,
            width=cells.shape[1],
            height=cells.shape[0],
            origin=Pose(position=Point(x=x, y=y, z=floor_m), orientation=Quaternion(w=1.0)),
        ),
        data=data,
    )


def twist_message(twist: NDArray[np.float64]) -> Twist:
    """m/s forward, m/s to the left, rad/s to the left."""
    forward, left, turn = (float(value) for value in twist)
    return Twist(linear=Vector3(x=forward, y=left), angular=Vector3(z=turn))


def contact_message(
    met: Sweep,
    twist: NDArray[np.float64],
    header: Header,
    names: tuple[str, ...],
    model_name: str,
    trained: bool,
) -> TimeToContact:
    """What is met first, and when."""
    return TimeToContact(
        header=header,
        course=twist_message(twist),
        contact=met.contact,
        time_to_contact=met.time_to_contact_s,
        distance=met.distance_m,
        probability=met.probability,
        class_id=met.class_id,
        class_name=class_name(met.class_id, names),
        model_name=model_name,
        trained=trained,
    )


def range_message(
    ahead_m: float, footprint: Footprint, header: Header, max_range_m: float
) -> Range:
    """Distance from the origin of the header's frame to what is met straight ahead.

    As REP-117 says, infinity is that nothing was found within the range, minus infinity that
    something is nearer than min_range, the robot's front.
    """
    front_m = float(footprint.corners[:, 0].max()) + footprint.padding_m
    distance_m = ahead_m if ahead_m <= max_range_m else math.inf
    return Range(
        header=header,
        radiation_type=Range.INFRARED,
        field_of_view=FIELD_OF_VIEW_RAD,
        min_range=front_m,
        max_range=max_range_m,
        range=distance_m if distance_m >= front_m else -math.inf,
    )
