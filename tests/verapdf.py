"""The real veraPDF, the reference validator of PDF/A, for tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from stages import tools
from tests.conftest import ROOT

JARS = ROOT / ".tools" / "verapdf"  # put there by `make`, from tests/tools/verapdf-pom.xml
START_S, PAGE_S = 60.0, 1.0  # generous: the machine may be busy


def refused_by_verapdf(files: Sequence[Path], flavour: str) -> dict[Path, str]:
    """The files that veraPDF does not pass as `flavour`, with the rules they break; all are checked in one call."""
    if shutil.which("java") is None or not any(JARS.glob("greenfield-apps-*.jar")):
        message = "veraPDF is not installed: run make"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = tools.run(
        ["java", "-cp", f"{JARS}/*", "org.verapdf.apps.GreenfieldCliWrapper", "-f", flavour, "--format", "text", "-v"]
        + [str(file) for file in files],
        timeout_s=START_S + PAGE_S * 100 * len(files),
        ok_codes=(0, 1),
    )
    said = done.stdout.decode()
    refused = {file: _rules(said, file) for file in files if f"PASS {file} {flavour}" not in said.splitlines()}
    assert len(said.splitlines()) >= len(files), said + done.stderr.decode()
    return refused


def _rules(said: str, file: Path) -> str:
    """What stands below the verdict on the file, until the next verdict."""
    lines = said.splitlines()
    start = next((at for at, line in enumerate(lines) if f" {file} " in f"{line} "), None)
    if start is None:
        return said
    end = next((at for at in range(start + 1, len(lines)) if lines[at].startswith(("PASS ", "FAIL "))), len(lines))
    return "\n".join(lines[start:end])
