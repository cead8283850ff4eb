"""Runs probes and reports what they saw, one JSON object per line.

    python -I -S -B /isoproof/probes/__main__.pyc REQUEST

REQUEST is `{"nonce": "…", "observe": [{"name": …, "probe": …, "arguments": {…}, "deadline": 5.0}, …]}`. Each
line on standard output bears the nonce, the name, the probe and one of `facts` (what it saw), `error` (why
there is no trustworthy observation) and `ready` (a handshake: the runner then waits on standard input for
one line `{"name": …, "reply": {…}}`).

The first line is always `init`, observed in the runner's own process before it has changed anything. Every
other probe has a forked child in a process group of its own, and is killed with that group when it is done
or at its deadline: a probe that hangs, crashes or spoils its process costs one line and no other. As process
1 the runner reaps orphans between probes. Exit status: 0 all were reported, 1 nobody read the lines to the
end, 2 the request makes no sense.

The host role imports observe_all from here, to make the same observations outside.
"""

from __future__ import annotations

import os
import select
import sys
import time

# What importlib.machinery hands on; to import that would load importlib and warnings, too.
from _frozen_importlib_external import SourceFileLoader, SourcelessFileLoader

HERE = os.path.dirname(os.path.abspath(__file__))
# Searched last, and only for _kernel: a probe may bear the name of a standard module (signal).
sys.path[:] = [*(entry for entry in sys.path if entry != HERE), HERE]

import _kernel  # noqa: E402 (found through the line above)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType
    from typing import Any

    Facts = dict[str, Any]

LINE_LIMIT = 256 << 10
TOTAL_LIMIT = 4 << 20
DEADLINE = 5.0


def observe_all(
    requests: Iterable[Mapping[str, Any]], emit: Callable[[Facts], None], receive: Callable[[str], Facts]
) -> None:
    """Run the requested probes one after the other, each in a forked child.

    `emit` gets a dict for every line: name, probe and one of facts, error, ready. `receive` is called with
    the name after a ready line and returns the reply for the probe; if it raises, the probe is given up.
    Afterwards no child, process group or descriptor of a probe is left. An exception of `emit` passes
    through.
    """
    for request in requests:
        head: Facts = {"name": request["name"], "probe": request["probe"]}

        def handshake(ready: Facts, head: Facts = head) -> Facts:
            emit(head | {"ready": ready})
            return receive(head["name"])

        emit(head | _observe(request, handshake))


def _observe(request: Mapping[str, Any], handshake: Callable[[Facts], Facts]) -> Facts:
    """Run one probe in a forked child; {"facts": …} or {"error": …}."""
    descriptors: list[int] = []
    try:
        module = load(request["probe"])
        deadline = float(request.get("deadline") or DEADLINE)
        descriptors += os.pipe()
        descriptors += os.pipe()
        report, report_end, replies_end, replies = descriptors
        child = os.fork()
        if child == 0:
            _live(module, request.get("arguments") or {}, report_end, replies_end, (report, replies))
        try:
            outcome = _listen(child, deadline, report, replies, handshake)
        finally:
            _kill_group(child)
        if select.select([report], [], [], 0)[0]:
            return {"error": "reported twice"}
        return outcome
    except Exception as error:
        return describe(error)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _listen(child: int, deadline: float, report: int, replies: int, handshake: Callable[[Facts], Facts]) -> Facts:
    """Read what the child reports until it is final; its clock stands still while the host acts."""
    while True:
        line = _kernel.read_line(report, child, time.monotonic() + deadline, LINE_LIMIT - 1024)
        if line is None:
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return {"error": f"hung: no report after {deadline:g} s"}
            if ended.si_code == os.CLD_EXITED:
                return {"error": f"left with status {ended.si_status} and without a report"}
            return {"error": f"killed by {_kernel.signal_name(ended.si_status)}"}
        outcome = _kernel.decode(line.decode())
        if "ready" not in outcome:
            return outcome
        _send(replies, handshake(outcome["ready"]))


def _kill_group(child: int) -> None:
    """Kill the child's process group, then reap the child: until then its pid cannot be anybody else's."""
    for target in (-child, child):
        try:
            os.kill(target, _kernel.SIGKILL)
        except ProcessLookupError:
            pass  # the child ended before it had a group of its own
    os.waitpid(child, 0)


def _live(module: ModuleType, arguments: Facts, report: int, replies: int, others: tuple[int, int]) -> None:
    """The life of the forked child; does not return."""
    pid = os.getpid()
    try:
        os.setpgid(0, 0)
        for descriptor in others:
            os.close(descriptor)
        os.dup2(replies, 0)
        os.close(replies)
        # A stray print must not reach the lines on descriptor 1, and may be what explains a failure.
        os.dup2(2, 1)
        outcome = _outcome(module, arguments, report)
        if os.getpid() != pid:
            outcome = {"error": "reported twice: the probe forked and both processes went on"}
        _send(report, outcome)
    finally:
        os._exit(0)


def _outcome(module: ModuleType, arguments: Facts, report: int) -> Facts:
    try:
        observed = module.observe(**arguments)
        if hasattr(observed, "send"):
            try:
                ready = next(observed)
                while True:
                    _send(report, {"ready": ready})
                    ready = observed.send(_kernel.decode(_next_line(0)))
            except StopIteration as end:
                observed = end.value
        if not isinstance(observed, dict):
            raise TypeError(f"observe gave {type(observed).__name__}, not a dict")
        _kernel.encode(observed)
        return {"facts": observed}
    except BaseException as error:
        return describe(error)


def _send(descriptor: int, value: Facts) -> None:
    _kernel.write_all(descriptor, _kernel.encode(value).encode() + b"\n")


def _next_line(descriptor: int) -> str:
    """Read one line, byte by byte, so that nothing of the next one is lost; EOFError where it ends."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(descriptor, 1)
        if not part:
            raise EOFError("nobody replied to the handshake")
        line += part
    return line.decode()


def describe(error: BaseException) -> Facts:
    """{"error": "ValueError: text"}, on one line."""
    return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:4096]}


def load(probe: str) -> ModuleType:
    """The module of a probe, loaded once, from its file: `import` could find a standard module instead."""
    if not probe.isidentifier() or probe.startswith("_"):
        raise ValueError(f"{probe!r} cannot be the name of a probe")
    name = f"{HERE}/{probe}"
    if name not in sys.modules:
        compiled = f"{HERE}/{probe}.pyc"  # which is all that the kit has
        is_there = os.path.exists(compiled)
        loader = SourcelessFileLoader(name, compiled) if is_there else SourceFileLoader(name, f"{HERE}/{probe}.py")
        module = type(sys)(name)
        exec(loader.get_code(name), module.__dict__)  # type: ignore[arg-type]
        sys.modules[name] = module
    return sys.modules[name]


def main(arguments: list[str]) -> int:
    """Answer the request on the command line; returns the exit status."""
    try:
        (text,) = arguments
        request: Any = _kernel.decode(text)
        nonce = request["nonce"]
        requests = [each for each in request["observe"] if each["name"] != "init" and each["probe"]]
    except (ValueError, KeyError, TypeError) as error:
        os.write(2, f"read request: {describe(error)['error']}; {__file__} tells what it must be\n".encode())
        return 2
    total = 0

    def emit(line: Facts) -> None:
        nonlocal total
        data = _kernel.encode({"nonce": nonce} | line).encode() + b"\n"
        if len(data) > LINE_LIMIT or total + len(data) > TOTAL_LIMIT:
            line = {"name": line["name"], "probe": line["probe"], "error": "too much to report"}
            data = _kernel.encode({"nonce": nonce} | line).encode() + b"\n"
        total += len(data)
        _kernel.write_all(1, data)

    def receive(name: str) -> Facts:
        line: Any = _kernel.decode(_next_line(0))
        if line["name"] != name:
            raise ValueError(f"the reply to the handshake is for {line['name']!r}")
        return dict(line["reply"])

    try:
        emit({"name": "init", "probe": "init"} | _observe_here("init"))
        for each in requests:
            observe_all([each], emit, receive)
            _reap()
    except OSError as error:
        os.write(2, f"report observations: {_kernel.errno_name(error.errno)} ({error.strerror})\n".encode())
        return 1
    return 0


def _observe_here(probe: str) -> Facts:
    try:
        return {"facts": load(probe).observe()}
    except Exception as error:
        return describe(error)


def _reap() -> None:
    """Wait for what the probe left behind: as process 1 the runner inherits every orphan."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
