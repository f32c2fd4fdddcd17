"""Runs one server and never leaves it behind.

The server dies, and its directory is removed, when standard input closes (the test run ended or was killed), when this
process is told to stop, or when the server ends by itself. On Linux the kernel also ends the server with the guard.

    python guard.py DIRECTORY COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 5


def die_with_parent(how: signal.Signals) -> None:
    """Asks the kernel to send `how` to this process when its parent ends. Only Linux can; elsewhere the pipe must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(how))


def guard(
    command: list[str],
    directory: str,
    stop_signal: signal.Signals,
    become: Callable[[], None] | None = None,
) -> int:
    """Runs `command` until standard input closes; returns its exit status. `become` changes the user in the child."""

    def prepare_child() -> None:
        if become is not None:
            become()
        die_with_parent(stop_signal)

    def leave(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    # Ctrl-C reaches the whole terminal group; the test run decides when its servers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server: subprocess.Popen[bytes] | None = None
    try:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=prepare_child, start_new_session=True, cwd=directory
        )
        while server.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable and os.read(sys.stdin.fileno(), 4096) == b"":
                return 0
        return server.returncode
    finally:
        if server is not None:
            stop(server, stop_signal)
        shutil.rmtree(directory, ignore_errors=True)


def stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Ends the server and what it started; by force after five seconds."""
    for each in (how, signal.SIGKILL):
        try:
            os.killpg(server.pid, each)
        except ProcessLookupError:
            return
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    # By force: the data is removed anyway, and a server that saves it first only takes longer.
    sys.exit(guard(sys.argv[2:], sys.argv[1], signal.SIGKILL))
