"""Measured figures, Platen beside its peers: `python -m bench [name...]`. Nothing here is asserted."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out"
REAL_SCANS = ROOT.parent / "shared" / "real-scans"
