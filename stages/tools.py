"""Run an outside program: arguments, time-out, kill of the whole process group, versions."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass


class ToolMissing(RuntimeError):
    """The program is not installed."""


class ToolFailed(RuntimeError):
    """The program ended with an error, or was killed."""


class ToolTimedOut(RuntimeError):
    """The program did not end in its time and was killed with all its children."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a program left behind."""

    code: int
    stdout: bytes
    stderr: bytes


def run(
    args: list[str],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    ok_codes: tuple[int, ...] = (0,),
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program in a process group of its own and wait for it; `environment` is added to ours.

    Raises:
        ToolMissing: there is no such program.
        ToolTimedOut: it ran longer than `timeout_s`; its whole group has been killed.
        ToolFailed: it ended with a code that is not in `ok_codes`.
    """
    if shutil.which(args[0]) is None:
        raise ToolMissing(f"{args[0]} is not installed")
    process = subprocess.Popen(
        args,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise ToolTimedOut(f"{args[0]} ran longer than {timeout_s:.0f} s") from error
    if process.returncode not in ok_codes:
        tail = stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ToolFailed(f"{args[0]} ended with code {process.returncode}: {tail[0][:300]}")
    return Finished(code=process.returncode, stdout=stdout, stderr=stderr)


def version(args: list[str]) -> str | None:
    """First line of what the program says of its version; None when it is not installed."""
    try:
        done = run(args, timeout_s=20, ok_codes=tuple(range(256)))
    except (ToolMissing, ToolTimedOut, ToolFailed):
        return None
    lines = (done.stdout or done.stderr).decode(errors="replace").splitlines()
    return lines[0].strip() if lines else None
