"""`foresight bag from-nuscenes`: scenes of nuScenes as rosbag2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import InputError, UsageError


def add_parser(below: Any) -> None:
    """Add the subcommand."""
    parser = below.add_parser(
        "from-nuscenes",
        help="turn scenes of nuScenes into rosbag2",
        description="Reads the official JSON tables and files. The bag has the cameras' own JPEG "
        "bytes on /cam_front/image_rect/compressed and so on, camera_info beside them, /tf (map to "
        "base_link), /tf_static (base_link to each sensor) and /odom, all with the sensors' time "
        "stamps. With --scene all (or several), --out is a folder with a bag per scene; scenes "
        "whose files are missing are left out and listed at the end. Run again, it goes on behind "
        "the bags that are complete.",
    )
    add = parser.add_argument
    add("--dataroot", type=Path, required=True, metavar="DIR", help="holds samples/ and sweeps/")
    add("--version", default="v1.0-mini", help="folder of the tables; default: %(default)s")
    add("--scene", required=True, metavar="NAME", help="scene-0061, several with commas, or all")
    add("--out", type=Path, required=True, metavar="BAG", help="rosbag2 folder to write")
    add("--cameras", metavar="NAMES", help="CAM_FRONT,CAM_BACK; default: all")
    add("--keyframes-only", action="store_true", help="2 Hz instead of 12 Hz")
    add("--lidar", action="store_true", help="add /lidar_top (PointCloud2)")
    add("--annotations", action="store_true", help="add /annotations (MarkerArray, in map)")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="default: %(default)s")
    add("--force", action="store_true", help="replace existing bags")
    parser.set_defaults(bag_run=run)


def run(args: argparse.Namespace) -> int:
    """Write the bags."""
    from dino_foresight_ros.recordings.bag_writer import check_output
    from dino_foresight_ros.recordings.nuscenes.scene_bag import BagContent, scene_rows
    from dino_foresight_ros.recordings.nuscenes.tables import Tables

    tables = Tables(args.dataroot.expanduser(), args.version, _progress)
    names = tables.scene_names(args.scene)
    content = BagContent(
        cameras=_cameras(args.cameras, tables.channels("camera")),
        sweeps=not args.keyframes_only,
        lidar=args.lidar,
        annotations=args.annotations,
        storage=args.storage,
    )
    out = args.out.expanduser()
    if len(names) == 1 and args.scene != "all":
        outs = {names[0]: out}
    elif (out / "metadata.yaml").exists():
        raise InputError(f"{out} is a bag; several scenes need a folder for their bags")
    else:
        outs = {name: out / name for name in names}
    if args.force:  # known now rather than after minutes of reading
        for path in outs.values():
            check_output(path, force=True)
    _write_all(scene_rows(tables, names, content), content.storage, outs, args.force)
    return 0


def _write_all(rows: Any, storage: Any, outs: dict[str, Path], force: bool) -> None:
    """Write the scenes that are not there yet; of several, a bad one does not stop the others."""
    from dino_foresight_ros.recordings.nuscenes.scene_bag import check_finished
    from dino_foresight_ros.recordings.nuscenes.scenes import SceneError

    done = [name for name, out in outs.items() if out.exists() and not force]
    for name in done:
        check_finished(rows.load(name), storage, outs[name])
    failed: list[str] = []
    for name, out in outs.items():
        if name in done:
            print(f"{out}: there already, complete")
            continue
        try:
            _write(rows.load(name), storage, out, force)
        except SceneError as error:
            if len(outs) == 1:
                raise
            failed.append(f"{name}: {error}")
    for line in failed:
        print(line, file=sys.stderr)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(outs)} scenes were not written, for the reasons above"
        )


def _progress(table: str, rows: Iterable[Any]) -> Iterable[Any]:
    """Show how many rows of a large table were read."""
    from dino_foresight_ros.progress import Progress

    with Progress(f"reading {table}.json", "row", passing=True) as progress:
        for row in rows:
            progress.add()
            yield row


def _cameras(text: str | None, valid: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip().upper() for name in text.split(","))
    unknown = [name for name in names if name not in valid]
    if unknown:
        raise UsageError(f"camera '{unknown[0]}' is unknown; valid: {', '.join(valid)}")
    return names


def _write(scene: Any, storage: Any, out: Path, force: bool) -> None:
    from dino_foresight_ros.progress import Progress
    from dino_foresight_ros.recordings.nuscenes.scene_bag import write_scene

    with Progress(scene.name, "message") as progress:
        counts = write_scene(scene, out, storage, force, progress.show)
    print(f"{out}: {sum(counts.values())} messages, read back and counted")
    for topic in sorted(counts):
        print(f"  {topic}  {counts[topic]}")
    print(f"play with: ros2 bag play {out} --clock")
