"""How the child and its launcher meet while a container starts.

Between them is one stream socket, which execve(2) closes in the child. The launcher reads from it until then: the call
that failed, what else went wrong, or the name of a meeting, at which the launcher does what only the host's side can
while the child waits for a byte. A descriptor can be handed over with the name.
"""

import contextlib
import os
import select

from harness.runtime.step import CHANNEL, Call, Packed, Record, Saved, Step

MEETING = b"meet:"
RAISED = b"raised:"  # before the words of an exception in the child, which no failed call is
HOOK = b"hook:"  # before what is to be said of a hook that has failed
LONGEST = 1024  # bytes of a message
SOL_SOCKET = 1
SCM_RIGHTS = 1
CONTROL_LENGTH = 20  # CMSG_LEN of one descriptor
CONTROL_SPACE = 24  # and with its padding
BYTE = Packed(b"\0", "a byte")


def wait() -> Step:
    """Hold the child back until the launcher has done what it does without being asked."""
    return Step("wait-for-host", "until the host's side of its world is made: socketpair(2)", (_hear(),))


def meet(name: str, why: str, descriptor: Saved | None = None) -> Step:
    """Tell the launcher that the child has come this far, hand over a descriptor if there is one, and wait."""
    said = MEETING + name.encode()
    return Step(f"meet:{name}", why, (Call("sendmsg", (CHANNEL, _message(said, descriptor), 0)), _hear()))


def _hear() -> Call:
    """The child's reading of the byte; the end of the socket instead of it means that the launcher is dead."""
    return Call("read", (CHANNEL, BYTE, 1), least=1)


def _message(said: bytes, descriptor: Saved | None) -> Record:
    """A struct msghdr: recvmsg(2), cmsg(3)."""
    vector = Record((("Q", Packed(said, said.decode())), ("Q", len(said))))
    control = (
        (("Q", CONTROL_LENGTH), ("i", SOL_SOCKET), ("i", SCM_RIGHTS), ("i", descriptor), ("4x", None))
        if descriptor
        else ()
    )
    return Record(
        (
            ("Q", 0),  # no name: the socket is connected
            ("Q", 0),
            ("Q", vector),
            ("Q", 1),
            ("Q", Record(control)) if control else ("Q", 0),
            ("Q", CONTROL_SPACE if control else 0),
            ("Q", 0),
        )
    )


def receive(channel: int, descriptors_too: bool) -> tuple[bytes, list[int]]:
    """Return what the child says next and the descriptors that came with it; nothing once it has become the program."""
    try:
        if not descriptors_too:
            return os.read(channel, LONGEST), []
        import socket  # only here, for few starts need it and all would wait for it

        with socket.socket(fileno=os.dup(channel)) as whole:
            said, descriptors, _flags, _address = socket.recv_fds(whole, LONGEST, 1)
            return said, descriptors
    except ConnectionResetError:  # it died before it had read what it was sent
        return b"", []


def has_spoken(channel: int) -> bool:
    """Return whether the child has said anything that was not received yet."""
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    return bool(waiting.poll(0))


def answer(channel: int) -> None:
    """Let the waiting child go on; one that has been killed meanwhile is found out by the next `receive`."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.write(channel, BYTE.value)
