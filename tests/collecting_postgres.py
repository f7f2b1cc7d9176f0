"""A temporary PostgreSQL cluster, run by a user without privileges."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg


def binaries() -> Path | None:
    """Find the folder of PostgreSQL's programs."""
    if shutil.which("postgres"):
        return Path(shutil.which("postgres")).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


class Cluster:
    """A cluster in a folder of its own; `url(name)` makes an empty schema, which is far cheaper than a database.

    With `is_durable=False` it does not wait for the disk: nobody kills PostgreSQL itself.
    """

    def __init__(self, is_durable: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="collect-pg-"))
        self.bin = binaries()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N")
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=60"
        if not is_durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options, "-w", "start"
        )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self.user, "--", *command]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp", timeout=120
        )

    def url(self, name: str) -> str:
        """Make a schema and give the URL of a connection that sees nothing else."""
        place = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"')
        return f"{place}?options=-csearch_path%3D{name}"

    def stop(self) -> None:
        """End the cluster and remove it."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)
