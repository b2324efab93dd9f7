"""Run a program and tell what it cost: CPU seconds of its whole process tree, wall time, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.1  # Tesseract, the shortest-lived process of interest, lives for half a second and more
KIB_PER_MIB = 1024
PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a program and what it cost.

    `cpu_s` is user and system time of it and of all it started and waited for. `peak_mib` holds, for each program of
    the tree, the largest resident memory (VmHWM) any process of it ever had; `tree_mib` the most that all processes
    held at one moment, pages that several share counted once (PSS). Both are sampled, so a peak in a process's last
    tenth of a second may be missed.
    """

    exit_code: int
    stdout: str
    stderr: str
    cpu_s: float
    wall_s: float
    peak_mib: dict[str, float]
    tree_mib: float

    @property
    def largest_mib(self) -> float:
        """Peak resident memory of the largest process."""
        return max(self.peak_mib.values(), default=0.0)


def run(arguments: Sequence[str | Path], *, timeout_s: float = 3600.0) -> Run:
    """Run a program to its end; after `timeout_s` it is killed with all it started and ends with -9."""
    peak_mib: dict[str, float] = {}
    tree_mib = 0.0
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        begin = time.monotonic()
        process = subprocess.Popen(
            list(map(str, arguments)), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        # wait4 alone tells the time of a process together with its waited-for descendants
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            sampled_mib = 0.0
            for pid in tree(process.pid):
                sampled_mib += memory_mib(pid, "smaps_rollup", "Pss:")
                name = _program(pid)
                peak_mib[name] = max(peak_mib.get(name, 0.0), memory_mib(pid, "status", "VmHWM:"))
            tree_mib = max(tree_mib, sampled_mib)
            if time.monotonic() - begin > timeout_s:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(SAMPLE_S)
        wall_s = time.monotonic() - begin
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        return Run(
            exit_code=process.returncode,
            stdout=stdout.read(),
            stderr=stderr.read(),
            cpu_s=usage.ru_utime + usage.ru_stime,
            wall_s=wall_s,
            peak_mib={name: mib for name, mib in peak_mib.items() if mib},
            tree_mib=tree_mib,
        )


def tree(pid: int) -> Iterator[int]:
    """The process and all below it; children are listed by the thread that started them."""
    yield pid
    for children in PROC.glob(f"{pid}/task/*/children"):
        try:
            below = children.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in below:
            yield from tree(int(child))


def memory_mib(pid: int, file: str, key: str) -> float:
    """A figure of a process from a file of its /proc folder; 0 when it has ended."""
    try:
        lines = (PROC / str(pid) / file).read_text().splitlines()
    except OSError:  # the process has ended
        return 0.0
    return next((int(line.split()[1]) / KIB_PER_MIB for line in lines if line.startswith(key)), 0.0)


def _program(pid: int) -> str:
    """The program's name; of Python programs the script's or the module's."""
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    names = [Path(argument).name for argument in arguments]
    if names[0].startswith("python") and len(names) > 2:
        return names[2] if names[1] == "-m" else names[1]
    return names[0]
