"""A model that fails, is slow or does not load: what the node does about it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import hooked_forecast_node as hooked
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from fault_scene import RunScene, Scene
from forecast_peers import rgb_message
from safetensors.torch import load_file, save_file

from dino_foresight_ros.process.memory import resident_mb

PROGRAM = hooked.main
WARM_UP_CYCLES, CYCLES, GROWTH_MB = 15, 75, 10.0


def send_color(scene: Scene, color: tuple[int, int, int]) -> int:
    """Send a picture that makes the model fail."""
    stamp = scene.tick()
    plain = np.full((120, 200, 3), color, np.uint8)
    scene.send(rgb_message(stamp, data=plain.tobytes()), plain)
    return stamp


def begin_slow_pass(scene: Scene) -> int:
    """Have the model work until it is told to end; return the frame's stamp."""
    begun = scene.process.text.count(hooked.BEGAN)
    stamp = send_color(scene, hooked.SLOW)
    scene.wait_for(lambda: scene.process.text.count(hooked.BEGAN) > begun)
    return stamp


def end_slow_pass(scene: Scene) -> None:
    """End the pass, which must be running."""
    ended = scene.process.text.count(hooked.ENDED)
    assert scene.process.text.count(hooked.BEGAN) == ended + 1
    hooked.end_file(scene.process.process.pid).touch()
    scene.wait_for(lambda: scene.process.text.count(hooked.ENDED) > ended)


def is_error(scene: Scene, text: str) -> bool:
    status = scene.newest_status()
    return (
        status is not None
        and status.level == DiagnosticStatus.ERROR
        and text in str(status.message)
    )


def test_model_output_nan(scene: Scene) -> None:
    """Nothing is published, diagnostics say ERROR, a new context recovers and so do they."""
    before = scene.dropped("bad_output")
    stamp = send_color(scene, hooked.NAN)
    scene.wait_for(lambda: scene.dropped("bad_output") == before + 1)
    assert scene.forecast_of(stamp) is None
    scene.wait_for(lambda: is_error(scene, "predicted NaN or infinity"))
    (forecast, *_) = scene.recovers()
    assert all(
        np.isfinite(np.frombuffer(step.depth.data, np.float32)).all() for step in forecast.steps
    )
    assert scene.says("frame dropped (bad_output)")

    def is_well() -> bool:
        scene.send_good(timeout_s=0.1)
        status = scene.newest_status()
        return status is not None and status.level != DiagnosticStatus.ERROR

    scene.wait_for(is_well)


def test_out_of_memory_once_is_retried(scene: Scene) -> None:
    """A real failed allocation in the pass: the frame is forecast all the same."""
    failed = scene.dropped("out_of_memory")
    stamp = send_color(scene, hooked.NO_MEMORY_ONCE)
    scene.wait_for(lambda: scene.forecast_of(stamp) is not None)
    scene.recovers()
    assert scene.dropped("out_of_memory") == failed


def test_out_of_memory_again_is_an_error(scene: Scene) -> None:
    """Also after freeing: the frame is dropped by name, ERROR, and the node lives on."""
    failed = scene.dropped("out_of_memory")
    stamp = send_color(scene, hooked.NO_MEMORY)
    scene.wait_for(lambda: scene.dropped("out_of_memory") == failed + 1)
    scene.wait_for(lambda: is_error(scene, "out of memory, also after freeing"))
    assert scene.forecast_of(stamp) is None
    assert scene.says("frame dropped (out_of_memory)"), scene.process.text
    scene.recovers()


def test_deactivate_during_a_forward_pass(scene: Scene) -> None:
    """It does not wait for the pass, whose result is dropped; activate then forecasts."""
    dropped = scene.dropped("inactive")
    stamp = begin_slow_pass(scene)
    assert scene.change("deactivate")
    assert scene.change("activate")
    scene.ready()
    end_slow_pass(scene)
    scene.recovers()
    assert scene.forecast_of(stamp) is None
    scene.wait_for(lambda: scene.dropped("inactive") > dropped)


def test_cleanup_during_a_forward_pass(scene: Scene) -> None:
    begin_slow_pass(scene)
    scene.restart()
    scene.ready()
    scene.recovers()
    end_slow_pass(scene)
    scene.recovers()


Damage = Callable[[Path], str]


def _truncated(bundle: Path) -> str:
    file = bundle / "forecaster.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    return "forecaster.safetensors is not a whole safetensors file"


def _one_tensor_missing(bundle: Path) -> str:
    file = bundle / "encoder.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[3]
    del tensors[name]
    save_file(tensors, file)
    return f"tensor {name}"


def _nan_weights(bundle: Path) -> str:
    file = bundle / "head_depth.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, file)
    return f"tensor {name} holds NaN or infinity"


@pytest.mark.parametrize("damage", [_truncated, _one_tensor_missing, _nan_weights])
def test_damaged_bundle(scene: Scene, micro_path: Path, tmp_path: Path, damage: Damage) -> None:
    """Refused at configure, the node stays unconfigured; with a good bundle it then works."""
    bundle = Path(shutil.copytree(micro_path, tmp_path / "bundle"))
    reason = damage(bundle)
    assert scene.change("deactivate")
    assert scene.change("cleanup")
    assert scene.set_parameter("bundle", str(bundle)).successful
    assert not scene.change("configure")
    assert scene.says("cannot configure: ")
    assert scene.says(reason)
    assert not scene.change("activate")
    assert scene.set_parameter("bundle", str(micro_path)).successful
    assert scene.change("configure")
    assert scene.change("activate")
    scene.ready()
    scene.recovers()


@pytest.mark.long  # nodes/forecast/test_start.py sees in one cycle that no model is left
def test_configure_and_cleanup_cycles_cost_no_memory(scene: Scene) -> None:
    """Resident memory after 15 cycles and after all: the same within 10 MB."""
    assert scene.change("deactivate")
    assert scene.change("cleanup")
    resident: list[float] = []
    for _ in range(CYCLES):
        assert scene.change("configure")
        assert scene.change("cleanup")
        resident.append(resident_mb(scene.process.process.pid))
    grown = np.median(resident[-5:]) - np.median(resident[WARM_UP_CYCLES : WARM_UP_CYCLES + 5])
    assert grown < GROWTH_MB, resident
    assert scene.change("configure")
    assert scene.change("activate")
    scene.ready()
    scene.recovers()


def test_sigint_during_a_forward_pass(ros_domain: dict[str, str], run_scene: RunScene) -> None:
    """It ends cleanly and does not wait for the pass."""
    with run_scene(ros_domain, "/interrupted", PROGRAM) as scene:
        scene.recovers()
        begin_slow_pass(scene)
        assert scene.process.process.poll() is None
        assert scene.process.end(signal.SIGINT) == 0
        assert hooked.ENDED not in scene.process.text
