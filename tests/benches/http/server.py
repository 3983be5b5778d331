"""A server under test: its process group, requests to it and its resident memory."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from environment import MODELS, TRITON_HEAD, WORK

# Seconds in which a server must become ready.
START_TIMEOUT = 120


class Server:
    """A server process in its own process group. The server is ready when the constructor returns."""

    def __init__(self, name: str, command: list, port: int, path: str, ready: str, suffix: str, env: dict, cwd: Path):
        self.name, self.port, self.path, self.suffix = name, port, path, suffix
        self.log = WORK / f"{name}.log"
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, cwd=cwd, env=os.environ | env, start_new_session=True
            )
        while not self.answers(ready):
            if self.process.poll() is not None or time.monotonic() - self.started > START_TIMEOUT:
                self.stop()
                sys.exit(f"{name} did not start:\n{self.log.read_text()}")
            time.sleep(0.001)
        self.startup_seconds = time.monotonic() - self.started

    def wait_for_log(self, words: str) -> float:
        """Waits until the log has these words, at most START_TIMEOUT. Returns the seconds since the start."""
        while words not in self.log.read_text():
            if time.monotonic() - self.started > START_TIMEOUT:
                sys.exit(f"{self.name}: no {words!r} in the log:\n{self.log.read_text()}")
            time.sleep(0.005)
        return time.monotonic() - self.started

    def answers(self, path: str) -> bool:
        """True if a GET of the path returns status 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def infer(self, image: str) -> dict:
        """Sends one inference request and returns the decoded reply. Exits if the status is not 200."""
        status, text = self.post(self.path, self.body(image).read_bytes())
        if status != 200:
            sys.exit(f"{self.name}: {status} {text!r}")
        return json.loads(text)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Sends one request and returns the status and body of the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, body, self.headers())
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, text

    def body(self, image: str) -> Path:
        """The file with the request body for an image, in the format of this server."""
        return MODELS / f"{image}{self.suffix}"

    def headers(self) -> dict[str, str]:
        """The headers of a request, in the format of this server."""
        if self.suffix == ".triton.bin":
            return {"content-type": "application/octet-stream", "inference-header-content-length": str(TRITON_HEAD)}
        return {"content-type": "image/jpeg" if self.suffix == ".jpg" else "application/json"}

    def cpu_seconds(self) -> float:
        """CPU seconds of all processes in the group since they started."""
        total = 0
        for process in self.processes():
            try:
                # Fields of the line after the process name: user and system time in ticks.
                total += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
            except OSError:
                pass
        return total / os.sysconf("SC_CLK_TCK")

    def processes(self) -> list[int]:
        """The ids of all processes in the group."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                # The process name can contain any character, so fields are counted after its last `)`: state, parent,
                # group.
                if (
                    entry.name.isdigit()
                    and int((entry / "stat").read_text().rpartition(")")[2].split()[2]) == self.process.pid
                ):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def resident_mib(self) -> float:
        """Resident memory of the group in MiB. Memory that its processes share is counted once."""
        processes, total = self.processes(), 0
        if len(processes) == 1:
            # `smaps_rollup` is not read here: for it, the kernel walks the whole address space of the instance pool,
            # and the process is blocked during that time.
            pages = int(Path(f"/proc/{processes[0]}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        for process in processes:
            try:
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, StopIteration):
                pass
        return total / 1024

    def stop(self) -> None:
        """Terminates all processes of the group, and kills those that are still running after 5 s."""
        for number, patience in [(signal.SIGTERM, 5), (signal.SIGKILL, 5)]:
            if not self.processes():
                break
            os.killpg(self.process.pid, number)
            until = time.monotonic() + patience
            while self.processes() and time.monotonic() < until:
                self.process.poll()
                time.sleep(0.02)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
