"""The host role: what stands outside the container under test, inside the outer sandbox.

It is the first process of the sandbox. First it is told {"kit": path, "image": an image or null}, and answers {} when
it is ready, or {"error"}.
For every request, one JSON object on a line, it places the canaries, observes the host, has a launcher start the
container, reads what the probes say, acts when a probe waits for it, observes the host once more and answers with one
line. The request and the answer:

    {"runtime", "config", "image", "canaries": {name: {"kind", …}}, "sabotage": [knob], "deadline",
     "inside": {name: {"probe", "args", "meanwhile": canary, "deadline"}},
     "host": {name: {"probe", "args", "during": name inside}}, "host_after": {name: {"probe", "args"}}}

    {"inside": {name: {"facts"} | {"error"}}, "host", "host_after", "canary": {name: facts}, "config": as asked,
     "start": {"ran", "refused", "message", "status", "command"}, "container": {…}, "error", "unfit",
     "milliseconds": {"prepare", "observe", "start", "probes", "end"}}

Its time goes to bundle and canaries (prepare), to what the host sees and does (observe), to the container until its
first line (start), to the other probes inside, and to what is left to be ended.
"""

import contextlib
import copy
import fcntl
import json
import os
import re
import secrets
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import bait, canaries, rootfs, sabotage
from harness.backends import Exit
from harness.backends.builtin import Builtin
from harness.canaries.base import Canary
from harness.clock import Clock
from harness.errors import HarnessError, IsoproofError
from harness.facilities import IMAGE, provide, runner, served, settle
from harness.launcher_bait import DIRECTORY
from harness.observation import Collector, Ready
from harness.outer import WORK
from harness.runtime.launch import Alteration
from harness.shapes import COMMAND, KIT

Facts = dict[str, Any]

REFERENCE = re.compile(r"(canary|container)(\.[a-z_][a-z0-9_]*)+\Z")
SURVIVAL = 1.0  # seconds within which the processes of an ended container must be gone
LAUNCHER_GROUPS = [4, 27, 44]  # adm, sudo, video: bait, for supplementary groups are inherited by what is started
STDERR_LIMIT = 16 << 10


def main() -> None:
    """Serve requests until there are no more; the process is PID 1 of the outer sandbox."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    settle()
    requests = sys.stdin.buffer
    answers.write(json.dumps(provide(**json.loads(requests.readline()))).encode() + b"\n")
    for line in requests:
        request = json.loads(line)
        try:
            answer = Run(request).carry_out()
        except IsoproofError as error:
            answer = {"error": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"carry out the run: {type(error).__name__}: {error}"}
        answers.write(json.dumps(answer).encode() + b"\n")


class Run:
    """One run: a container under probes, with a host around it that watches."""

    def __init__(self, request: Facts) -> None:
        self.request = request
        self.nonce = secrets.token_hex(16)
        self.directory = Path(WORK, f"run-{self.nonce[:8]}")
        self.canaries: dict[str, Canary] = {}
        self.known: Facts = {"canary": {}, "container": {"nonce": self.nonce}}
        self.host: dict[str, Facts] = {}
        self.stderr = ""
        self.crashed = False  # a launcher that nobody has sabotaged
        self.unfit = ""  # why the sabotage could not be done
        self.collector = Collector(self.nonce, request["inside"], self._handshakes())
        self.clock = Clock("prepare")

    def carry_out(self) -> Facts:
        """Do the run and return the answer; nothing of it is left in the sandbox."""
        with contextlib.ExitStack() as undo:
            undo.callback(_reap)
            served(self.request["runtime"])  # what it has for good is of the host, which is looked at next
            self._prepare(undo)
            asked = self._asked()
            self.host.update(self._observe(self._host_probes(None)))
            self.clock.turn("start")
            ended = self._launch(asked)
            self.clock.turn("end")
            survivors = self._survivors()
            self.known["canary"] = {name: canary.facts() for name, canary in self.canaries.items()}
            after = self._observe(self.request.get("host_after", {}))
        inside = self.collector.finish()
        ran = "facts" in inside["init"]
        return {
            "inside": inside,
            "host": self.host,
            "host_after": after,
            "canary": self.known["canary"],
            "config": asked,
            "start": {
                "ran": ran,
                "refused": bool(ended.refused) and not ran,
                "message": ended.refused or self.stderr.strip(),
                "status": ended.status,
                "command": ["…" if self.nonce in word else word for word in ended.command],
            },
            "container": self.known["container"] | {"survivors": survivors},
            "milliseconds": self.clock.milliseconds(),
            # Where the container has run, all may look well, and the runtime is broken nevertheless.
            "error": self.stderr.strip() if self.crashed and ran else None,
            "unfit": self.unfit,
        }

    def _prepare(self, undo: contextlib.ExitStack) -> None:
        """Make the bundle, on file systems of its own, and place the canaries."""
        self.directory.mkdir()
        undo.callback(shutil.rmtree, self.directory, ignore_errors=True)
        root = self.directory / "rootfs"
        root.mkdir()
        layer = rootfs.mount_layer(undo, root, IMAGE)
        self.known["container"] |= {"rootfs": str(root), "bundle": str(self.directory), "kit": KIT}
        for name, wanted in self.request.get("canaries", {}).items():
            arguments = {key: value for key, value in wanted.items() if key != "kind"}
            canary = canaries.place(wanted["kind"], arguments, self.directory, self.nonce)
            undo.callback(canary.close)
            self.canaries[name] = canary
            self.known["canary"][name] = canary.facts()
        rootfs.make_rootfs(layer, self._resolved(self.request.get("image", {})), IMAGE)
        if layer != root:
            rootfs.mount_over_image(undo, root, layer, IMAGE)

    def _asked(self) -> Facts:
        """Return the config as it was asked for, with everything in it that only now is known."""
        asked: Facts = self._resolved(self.request["config"])
        observe = self._observations(self.request["inside"])
        command = rootfs.command(json.dumps({"nonce": self.nonce, "observe": observe}))
        wanted = asked["process"]["args"]
        at = wanted.index(COMMAND)
        asked["process"]["args"] = [*wanted[:at], *command, *wanted[at + 1 :]]
        return asked

    def _launch(self, asked: Facts) -> Exit:
        """Have a launcher run the container, and attend to its output until both have ended."""
        knobs = [self._knob(text) for text in self.request.get("sabotage", [])]
        backend = served(self.request["runtime"])
        try:
            config = sabotage.sabotaged_config(knobs, asked)
        except sabotage.Unfit as unfit:
            self.unfit = str(unfit)
            return Exit(125)
        alter: Alteration | None = (lambda plan: sabotage.sabotaged_plan(knobs, plan)) if knobs else None
        deadline = float(self.request["deadline"])
        stdin, stdout, stderr, result = (_pipe() for _ in range(4))
        launcher = os.fork()
        if launcher == 0:
            for ours in (stdin[1], stdout[0], stderr[0], result[0]):
                os.close(ours)
            streams = (stdin[0], stdout[1], stderr[1])

            def start() -> Exit:
                for canary in self.canaries.values():
                    canary.change_launcher(streams)
                if alter and isinstance(backend, Builtin):
                    return backend.run(config, self.directory, streams, deadline, alter)
                return backend.run(config, self.directory, streams, deadline)

            _be_the_launcher(start, result[1], stderr[1])
        self.known["container"]["launcher"] = launcher
        for theirs in (stdin[0], stdout[1], stderr[1], result[1]):
            os.close(theirs)
        os.set_blocking(stdin[1], False)  # a container can fill its own standard input, and nobody shall wait for it
        try:
            report = self._attend(stdin[1], stdout[0], stderr[0], result[0], time.monotonic() + deadline + 1)
        finally:
            for ours in (stdin[1], stdout[0], stderr[0], result[0]):
                os.close(ours)
            with contextlib.suppress(ProcessLookupError):
                os.kill(launcher, signal.SIGKILL)
            os.waitpid(launcher, 0)
        if not report:
            # No refusal: a check that demands one must not pass because the launcher has crashed.
            self.stderr += "\nthe launcher has ended without a word"
            self.crashed = not knobs and not any(canary.kills_launcher for canary in self.canaries.values())
            return Exit(125)
        said = json.loads(report)
        self.unfit = said.get("unfit", "")
        return Exit(said["status"], said["refused"], tuple(said["command"]))

    def _attend(self, replies: int, stdout: int, stderr: int, result: int, end: float) -> bytes:
        """Read everything that comes until the launcher has reported and the output has ended; return the report."""
        report, said = b"", b""
        open_pipes = {stdout, stderr, result}
        while open_pipes and time.monotonic() < end:
            for pipe in select.select(list(open_pipes), [], [], max(0.0, end - time.monotonic()))[0]:
                data = os.read(pipe, 1 << 16)
                if not data:
                    open_pipes.discard(pipe)
                elif pipe == stdout:
                    waiting = self.collector.feed(data)
                    if self.collector.begun():
                        self.clock.turn("end" if self.collector.complete() else "probes")
                    for ready in waiting:
                        with self.clock.counting("observe"):
                            self._shake_hands(ready, replies)
                elif pipe == stderr:
                    said = (said + data)[: STDERR_LIMIT + 1]
                else:
                    report += data
            if result not in open_pipes:
                # What still holds the output open has outlived its container; it gets no say.
                end = min(end, time.monotonic() + 0.5)
        self.stderr = said[:STDERR_LIMIT].decode(errors="backslashreplace")
        if len(said) > STDERR_LIMIT:
            self.stderr += f"\n(there was more than {STDERR_LIMIT >> 10} KiB of this)"
        return report

    def _shake_hands(self, ready: Ready, replies: int) -> None:
        """Act while a probe waits: host probes that are due now, and the canary's deed; then let the probe go on."""
        self.known["container"]["pid"] = self._first_process()
        self.host.update(self._observe(self._host_probes(ready.name)))
        reply: Facts = {}
        canary = self.request["inside"][ready.name].get("meanwhile")
        if canary:
            known = self.known["container"]
            context = {"ready": ready.facts, "nonce": self.nonce, "pid": known["pid"], "launcher": known["launcher"]}
            reply = self.canaries[canary].act(context)
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(replies, json.dumps({"name": ready.name, "reply": reply}).encode() + b"\n")

    def _handshakes(self) -> list[str]:
        """Return the probes inside that must wait for the host."""
        waited_for = {entry.get("during") for entry in self.request.get("host", {}).values()}
        return [name for name, entry in self.request["inside"].items() if entry.get("meanwhile") or name in waited_for]

    def _host_probes(self, during: str | None) -> dict[str, Facts]:
        return {name: entry for name, entry in self.request.get("host", {}).items() if entry.get("during") == during}

    def _observe(self, wanted: dict[str, Facts]) -> dict[str, Facts]:
        """Observe the host by the same probes that look from inside."""
        seen: dict[str, Facts] = {}

        def emit(line: Facts) -> None:
            seen[line["name"]] = {key: line[key] for key in ("facts", "error") if key in line}

        with self.clock.counting("observe"):
            runner().observe_all(self._observations(wanted), emit, lambda _name: {})
        return seen

    def _observations(self, wanted: dict[str, Facts]) -> list[Facts]:
        """Return what the probes' runner is asked for, inside and on the host."""
        return [
            {
                "name": name,
                "probe": entry["probe"],
                "arguments": self._resolved(entry.get("args") or {}),
                "deadline": entry.get("deadline"),
            }
            for name, entry in wanted.items()
        ]

    def _resolved(self, value: Any) -> Any:
        """Return a value with every text that is a reference (`canary.bait.pid`) replaced by what it stands for."""
        if isinstance(value, dict):
            return {key: self._resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, str) or not REFERENCE.match(value) or value == COMMAND:
            return value
        found: Any = self.known
        for key in value.split("."):
            if not isinstance(found, dict) or key not in found:
                known = f"; there is {', '.join(map(str, found))}" if isinstance(found, dict) else ""
                raise HarnessError(f"find {value}: there is no {key} in it{known}")
            found = found[key]
        return copy.deepcopy(found)

    def _knob(self, text: str) -> str:
        """Return a knob with what its values refer to: `share-ns=canary.sibling.namespace`."""
        parts = [part.partition("=") for part in sabotage.parts(text)]
        return " + ".join(f"{name}{sign}{self._resolved(value)}" for name, sign, value in parts)

    def _processes(self) -> list[int]:
        """Return the container's processes, oldest first: those that bear the nonce in their command line.

        So do commands that are given the container's, such as `docker run`: with the host's root, and not of the kit.
        """
        found = []
        outside = os.stat("/")
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if self.nonce.encode() not in Path("/proc", entry, "cmdline").read_bytes():
                        continue
                    of_kit = os.readlink(f"/proc/{entry}/exe").startswith(f"{KIT}/")
                    if of_kit or not os.path.samestat(os.stat(f"/proc/{entry}/root"), outside):
                        stat = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                        if stat[0] not in "ZX":
                            found.append((int(stat[19]), int(entry)))
        return [pid for _start, pid in sorted(found)]

    def _first_process(self) -> int | None:
        return next(iter(self._processes()), None)

    def _survivors(self) -> int:
        """Return how many processes the container has left behind after a second, and kill them."""
        end = time.monotonic() + SURVIVAL
        while self._processes() and time.monotonic() < end:
            time.sleep(0.01)
        left = self._processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(left)


def _pipe() -> tuple[int, int]:
    """Make a pipe with numbers above those of what a careless launcher leaves open (`harness.launcher_bait`)."""
    reading, writing = os.pipe()
    try:
        lowest = DIRECTORY + 1
        return fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, lowest), fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, lowest)
    finally:
        os.close(reading)
        os.close(writing)


def _be_the_launcher(start: Callable[[], Exit], result: int, stderr: int) -> None:
    """Run a backend in a process of its own, with an ordinary user's rights where the user is one; does not return."""
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.geteuid() == 0:
            os.setgroups(LAUNCHER_GROUPS)
        else:
            # The sandbox's user namespace has granted them, and the launcher is to be an ordinary user's.
            bait.drop_capabilities()
        ended = start()
        os.write(result, json.dumps(asdict(ended)).encode())
    except sabotage.Unfit as unfit:
        os.write(result, json.dumps(asdict(Exit(125)) | {"unfit": str(unfit)}).encode())
    except IsoproofError as error:
        os.write(stderr, f"{error}\n".encode())
    except BaseException:
        os.write(stderr, traceback.format_exc().encode())
    finally:
        os._exit(0)


def _reap() -> None:
    """Reap whatever has become this process's child, as PID 1 must."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
