"""Starts from a process that has other threads, which all want the interpreter's lock."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.bundles import bundle

pytestmark = pytest.mark.usefixtures("needs_namespaces")

STARTS = 12
# In a process of its own, for what is tested is that it does not hang.
LAUNCHER = """
import dataclasses, json, os, sys, threading
from pathlib import Path

from harness.runtime.config import read
from harness.runtime.launch import run

stop = threading.Event()

def busy():
    while not stop.is_set():
        sum(range(1000))

directory, starts, executor = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
config = read(json.loads((directory / "config.json").read_text()))
null = os.open("/dev/null", os.O_RDWR)
alter = None if executor == "any" else lambda plan: dataclasses.replace(plan, replay=False)
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    for _ in range(starts):
        print(run(config, directory, (null, null, null), 20.0, alter), flush=True)
finally:
    stop.set()
"""


@pytest.mark.parametrize("executor", ["any", "forked"])
@pytest.mark.parametrize("needing", ["nothing", "a holder"])
def test_a_start_waits_for_no_other_thread(tmp_path: Path, executor: str, needing: str) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "exit 7")
    if needing == "a holder":
        if os.geteuid() != 0:
            pytest.skip("mounts with an id map take rights over the file system")
        (tmp_path / "data").mkdir()
        maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
        idmapped = {"destination": "/data", "type": "bind", "source": str(tmp_path / "data"), "options": ["bind"]}
        config["mounts"].append(idmapped | {"uidMappings": maps, "gidMappings": maps})
        (directory / "rootfs/data").mkdir()
        (directory / "config.json").write_text(json.dumps(config))
    words = [sys.executable, "-c", LAUNCHER, str(directory), str(STARTS), executor]
    launcher = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        output, _ = launcher.communicate(timeout=60)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
    assert (launcher.returncode, output.split()) == (0, ["7"] * STARTS)
