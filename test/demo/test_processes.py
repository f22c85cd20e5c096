from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dino_foresight_ros.demo.processes import NodeFailedError, NodeProcess, node_command
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.process import die_with_parent

pytestmark = pytest.mark.process

Start = Callable[[str], NodeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that runs some Python."""
    started: list[NodeProcess] = []

    def start_(code: str) -> NodeProcess:
        command = [sys.executable, "-I", "-c", code]
        started.append(NodeProcess("a_node", command, tmp_path / "a_node.log", os.environ))
        return started[-1]

    yield start_
    for node in started:
        node.stop()


def wait_for(condition: Callable[[], object], limit_s: float = 120.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"


def test_a_node_that_obeys_ends_on_sigint_with_its_own_exit_code(start: Start) -> None:
    node = start(
        "import time\nprint('up', flush=True)\n"
        "try: time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(0)"
    )
    wait_for(node.log)
    assert node.exit_code is None
    assert node.stop() == 0


def test_a_node_that_ignores_signals_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = ((signal.SIGINT, 0.2), (signal.SIGTERM, 0.2), (signal.SIGKILL, 10.0))
    monkeypatch.setattr("dino_foresight_ros.demo.processes._ENDING", ending)
    node = start(
        "import signal, time\nfor s in (signal.SIGINT, signal.SIGTERM): "
        "signal.signal(s, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
    )
    wait_for(node.log)
    assert node.stop() == -signal.SIGKILL


def test_what_a_node_started_itself_ends_with_it(start: Start) -> None:
    node = start(
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'])\nprint(child.pid, flush=True)\nchild.wait()"
    )
    wait_for(node.log)
    child = int(node.log()[0].text)
    node.stop()
    wait_for(lambda: not is_alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's end")
def test_a_node_dies_when_the_demo_is_killed() -> None:
    # The parent starts a tied sleep, says its pid, and hangs until it is killed.
    code = (
        "import os, subprocess, sys, time\n"
        f"node = subprocess.Popen([sys.executable, '-I', '-S', {die_with_parent.__file__!r}, "
        "str(os.getpid()), '/bin/sleep', '60'], start_new_session=True)\n"
        "print(node.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_alive(pid))


def test_a_crash_shows_the_last_lines_of_the_log(start: Start) -> None:
    node = start("for i in range(40): print('line', i)\nraise SystemExit(3)")
    wait_for(lambda: node.exit_code is not None)
    error = node.ended()
    assert isinstance(error, NodeFailedError)
    lines = str(error).splitlines()
    assert lines[0].startswith("a_node exited 3; its last lines (")
    assert [line.strip() for line in lines[1:]] == [f"line {i}" for i in range(32, 40)]


@pytest.mark.parametrize(
    ("code", "kind"), [(1, NodeFailedError), (2, UsageError)], ids=["failure", "usage"]
)
def test_a_reason_that_the_node_logged_is_the_only_line(
    start: Start, code: int, kind: type[ForesightError]
) -> None:
    node = start(
        "print('[INFO] [12.5] [a_node]: starting')\n"
        "print('[ERROR] [12.6] [a_node]: cannot configure: no such bundle')\n"
        f"raise SystemExit({code})"
    )
    wait_for(lambda: node.exit_code is not None)
    error = node.ended()
    assert type(error) is kind
    assert str(error) == "a_node: cannot configure: no such bundle"


def test_a_node_killed_by_a_signal_says_so(start: Start) -> None:
    node = start("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    wait_for(lambda: node.exit_code is not None)
    assert "was killed by signal 11" in str(node.ended())


def test_a_huge_log_is_read_from_its_end(start: Start) -> None:
    node = start("for i in range(30000): print('line', i)")
    wait_for(lambda: node.exit_code is not None)
    log = node.log()
    assert len(log) < 10000
    assert log[-1].text == "line 29999"


def test_parameters_keep_their_types_and_odd_characters() -> None:
    yaml = pytest.importorskip("yaml")
    parameters = {"input": "a b: 'c' #1.mp4", "name": "007", "rate": 2.0, "outputs": ["x", "y"]}
    command = node_command("replay_node", parameters)
    texts = [word for before, word in itertools.pairwise(command) if before == "-p"]
    assert [text.split(":=")[0] for text in texts] == list(parameters)
    values = [yaml.safe_load(text.split(":=", 1)[1]) for text in texts]
    assert values == list(parameters.values())
