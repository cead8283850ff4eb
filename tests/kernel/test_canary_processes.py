"""Processes as bait for those who trace, and the end of a launcher."""

import os
import re
import select
import socket
import struct
from pathlib import Path

import pytest

from harness import bait, canaries
from tests.kernel.test_canaries import NONCE, facts_of
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")


@pytest.mark.usefixtures("needs_root")
def test_server_is_a_user_without_rights_who_has_the_secret_open(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("server", {"uid": 65533}, tmp_path, NONCE)
        facts = facts_of(canary)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(facts["path"])
            assert struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == facts["pid"]
        status = Path(f"/proc/{facts['pid']}/status").read_text()
        assert re.search(r"^Uid:\t65533\t65533\t65533\t65533$", status, re.MULTILINE)
        assert re.search(r"^CapPrm:\t0+$", status, re.MULTILINE)
        assert Path(f"/proc/{facts['pid']}/fd/{facts['descriptor']}").read_text() == canary.token
        canary.close()

    in_throwaway(story)


def test_sibling_lives_in_a_namespace_of_its_own_and_keeps_the_secret_in_its_memory(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("sibling", {}, tmp_path, NONCE)
        facts = facts_of(canary)
        assert facts["inner"] > 30_000
        assert os.path.samefile(facts["namespace"], f"/proc/{facts['pid']}/ns/pid")
        assert not os.path.samefile(facts["namespace"], "/proc/self/ns/pid")
        assert os.path.samefile("/proc/self/ns/pid_for_children", "/proc/self/ns/pid")  # as it was
        with Path(f"/proc/{facts['pid']}/mem").open("rb") as memory:
            memory.seek(facts["address"])
            assert memory.read(32) == canary.token.encode()
        canary.close()

    in_throwaway(story)


def test_end_of_launcher_kills_the_runtime_and_spares_who_is_in_the_container(tmp_path: Path) -> None:
    def story() -> None:
        def launch(ready: int) -> None:
            with bait.Child(be_the_runtime):
                os.write(ready, b".")
                bait.wait_for_ever()

        def be_the_runtime(ready: int) -> None:
            with bait.new_pid_namespace():
                container = os.fork()
                if container == 0:
                    bait.wait_for_ever()
            (tmp_path / "container").write_text(str(container))
            os.write(ready, b".")
            bait.wait_for_ever()

        with bait.Child(launch) as launcher:
            container = int((tmp_path / "container").read_text())
            canary = canaries.place("end-of-launcher", {}, tmp_path, NONCE)
            canary.act({"launcher": launcher.pid})
            killed = facts_of(canary)["killed"]
            os.waitpid(launcher.pid, 0)
            assert (killed[0], len(killed)) == (launcher.pid, 2)
            ended, _, _ = select.select([os.pidfd_open(killed[1])], [], [], 10)  # killed is not yet ended
            assert ended
            os.kill(container, 0)
        canary.close()

    in_throwaway(story)
