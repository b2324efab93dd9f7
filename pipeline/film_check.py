"""Check a film folder against its own tables before it goes to the writer."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path

from pydantic import ValidationError

from pipeline.film import MM_PER_FOOT, FilmSettings
from pipeline.film_plan import MAX_NAME, next_address
from pipeline.film_tables import (
    FRAME_COLUMNS,
    INDEX_COLUMNS,
    INDEX_LAST_COLUMNS,
    MANIFEST,
    ROLL_COLUMNS,
    roll_manifest_sha256,
)
from pipeline.store import file_digest
from stages.film_check import inspect_frame
from stages.film_targets import Target
from stages.page_image import MM_PER_INCH

MAX_TABLE_BYTES = 512 * 2**20  # 100 rolls of 2,500 frames are 60 MB
MAX_PROBLEMS = 200  # beyond that a list helps nobody
MAX_PROBLEM_LETTERS = 400  # cells of a damaged table may be endless
LEGAL_NAME = re.compile(r"[0-9]{6}_[A-Z0-9_-]+\.tif", re.ASCII)
LEGAL_ROLL = re.compile(r"R[0-9]{6}", re.ASCII)
MANIFEST_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)
LENGTH_TOLERANCE_MM = 0.1  # the tables round to 0.01 mm


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmReport:
    """What stands in a film folder, and what is wrong with it."""

    problems: tuple[str, ...]
    rolls: int = 0
    frames: int = 0
    pages: int = 0
    documents: int = 0
    size_bytes: int = 0

    @property
    def good(self) -> bool:
        """Whether the folder may go to the writer."""
        return not self.problems


def check_film_folder(folder: Path) -> FilmReport:
    """Check a film folder against its own tables: every frame, name, sequence, digest, count, address and length.

    Never raises for what is in the folder, and follows no link out of it.
    """
    return _FolderCheck(folder).report()


Row = dict[str, str]


class _FolderCheck:
    """One look through a folder; problems are collected as they are met."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.size_bytes = 0
        self.digests: dict[str, str] = {}  # of every plain file, by its path in the folder

    def report(self) -> FilmReport:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return FilmReport(problems=("there is no such folder",))
        settings = self.settings()
        rolls = self.table("rolls.csv", ROLL_COLUMNS)
        frames = self.table("frames.csv", FRAME_COLUMNS)
        index = self.table("index.csv", None)
        by_roll: dict[str, list[Row]] = {row["roll_no"]: [] for row in rolls}
        if len(by_roll) < len(rolls):
            self.problem("rolls.csv", "names a roll twice")
        for row in frames:
            if row["roll_no"] in by_roll:
                by_roll[row["roll_no"]].append(row)
            else:
                self.problem("frames.csv", f"frame {row['seq']} is of roll {row['roll_no']}, which rolls.csv has not")
        for row in rolls:
            self.roll(row, by_roll[row["roll_no"]], settings)
        self.index(index, by_roll)
        self.manifest(rolls)
        problems = self.problems[:MAX_PROBLEMS]
        if len(self.problems) > MAX_PROBLEMS:
            problems.append(f"and {len(self.problems) - MAX_PROBLEMS:,} more")
        pages = [row for row in frames if row["kind"] == "doc"]
        return FilmReport(
            problems=tuple(problems),
            rolls=len(rolls),
            frames=len(frames),
            pages=len(pages),
            documents=len({row["doc_id"] for row in pages}),
            size_bytes=self.size_bytes,
        )

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}"[:MAX_PROBLEM_LETTERS])

    def read(self, name: str) -> bytes | None:
        """A plain file of the folder, not too large; None, and a problem, if it is not that."""
        path = self.folder / name
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                self.problem(name, "is not a plain file")
            elif status.st_size > MAX_TABLE_BYTES:
                self.problem(name, f"has {status.st_size:,} bytes; the limit is {MAX_TABLE_BYTES:,}")
            else:
                return path.read_bytes()
        except FileNotFoundError:
            self.problem(name, "is missing")
        except OSError as error:
            self.problem(name, f"cannot be opened: {error.strerror}")
        return None

    def settings(self) -> FilmSettings:
        """The film of `job.json`; the default film, and a problem, if that cannot be read."""
        data = self.read("job.json")
        try:
            if data is not None:
                return FilmSettings.model_validate(json.loads(data)["film"])
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            self.problem("job.json", f"cannot be understood: {str(error).splitlines()[0]}")
        return FilmSettings()

    def table(self, name: str, columns: list[str] | None) -> list[Row]:
        """The rows of a table, each with the columns of its header; none, and a problem, if it cannot be read."""
        data = self.read(name)
        if data is None:
            return []
        try:
            lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            self.problem(name, f"is not a UTF-8 table: {error}")
            return []
        header = lines[0] if lines else []
        expected = columns or [*INDEX_COLUMNS, *header[len(INDEX_COLUMNS) : -2], *INDEX_LAST_COLUMNS]
        if header != expected or len(set(header)) < len(header):
            self.problem(name, f"its columns are not {', '.join(expected)}")
            return []
        rows = []
        for number, line in enumerate(lines[1:], start=2):
            if len(line) == len(header):
                rows.append(dict(zip(header, line, strict=True)))
            else:
                self.problem(name, f"line {number} has {len(line)} cells, not {len(header)}")
        return rows

    def roll(self, roll: Row, frames: list[Row], settings: FilmSettings) -> None:
        number = roll["roll_no"]
        folder = self.folder / f"ROLL_{number}"
        if not LEGAL_ROLL.fullmatch(number):
            self.problem("rolls.csv", f"{number!r} is no roll number")
            return
        if folder.is_symlink() or not folder.is_dir():
            self.problem(folder.name, "the folder is missing")
            return
        for place, row in enumerate(frames, start=1):
            if row["seq"] != str(place):
                self.problem(folder.name, f"frame {row['seq']} stands where {place} is due")
                break
        for row in frames:
            self.frame(folder, row, settings)
        on_disk = {path.name for path in folder.iterdir()}
        for name in sorted(on_disk - {row["file"] for row in frames}):
            self.problem(f"{folder.name}/{name}", "is not in frames.csv")
        self.ends(folder.name, frames)
        self.counts(folder.name, roll, frames, settings)
        self.addresses(folder.name, frames)
        own = {
            row["file"]: self.digests[f"{folder.name}/{row['file']}"]
            for row in frames
            if f"{folder.name}/{row['file']}" in self.digests
        }
        if roll["manifest_sha256"] != roll_manifest_sha256(number, own):
            self.problem("rolls.csv", f"the manifest digest of roll {number} is not that of its frames")

    def frame(self, folder: Path, row: Row, settings: FilmSettings) -> None:
        name = row["file"]
        where = f"{folder.name}/{name}"
        if not LEGAL_NAME.fullmatch(name) or len(name) > MAX_NAME:
            self.problem("frames.csv", f"{name[:80]!r} is no legal file name")
            return
        if row["seq"].rjust(6, "0") != name[:6]:
            self.problem(where, f"is not named for its place {row['seq']}")
        found = inspect_frame(folder / name, film_mm=settings.width_mm)
        for problem in found.problems:
            self.problem(where, problem)
        if not found.sha256:
            return
        self.size_bytes += (folder / name).lstat().st_size
        self.digests[where] = found.sha256
        if row["sha256"] != found.sha256:
            self.problem(where, "is not the file of frames.csv: its SHA-256 is another")
        if (row["width_px"], row["height_px"], row["dpi"]) != (
            str(found.width_px),
            str(found.height_px),
            f"{found.dpi:g}",
        ):
            self.problem(where, "has another size or resolution than frames.csv says")

    def ends(self, where: str, frames: list[Row]) -> None:
        if not frames or frames[0]["target_code"] != Target.START:
            self.problem(where, "does not begin with a START target")
        if not frames or frames[-1]["target_code"] != Target.END:
            self.problem(where, "does not end with an END target")
        for row in frames:
            target = row["kind"] == "target"
            known = row["target_code"] in set(Target) if target else row["kind"] == "doc" and not row["target_code"]
            if not known or target == bool(row["doc_id"]):
                self.problem(where, f"frame {row['seq']} is neither a page nor a known target")

    def counts(self, where: str, roll: Row, frames: list[Row], settings: FilmSettings) -> None:
        pages = sum(row["kind"] == "doc" for row in frames)
        counted = (str(len(frames)), str(len(frames) - pages), str(pages))
        if (roll["frames_total"], roll["frames_targets"], roll["frames_documents"]) != counted:
            self.problem(where, f"has {counted[0]} frames, {counted[1]} of them targets; rolls.csv says otherwise")
        capacity = _number(roll["capacity_limit"])
        limit = min(capacity, settings.max_images_per_roll) if capacity < inf else 0
        if len(frames) > limit:
            self.problem(where, f"has {len(frames)} frames; {limit:g} is the most this film takes")
        end_mm = settings.length_ft * MM_PER_FOOT - settings.trailer_in * MM_PER_INCH
        used_mm = max((_number(row["cum_mm"]) for row in frames), default=0.0)
        if used_mm > end_mm + LENGTH_TOLERANCE_MM:
            self.problem(where, f"uses {used_mm:.0f} mm of film; {end_mm:.0f} mm are before the trailer")
        width_mm = max((_number(row["across_mm"]) for row in frames), default=0.0)
        if width_mm > settings.image_width_mm + LENGTH_TOLERANCE_MM:
            self.problem(where, f"has an image {width_mm:.1f} mm wide; {settings.image_width_mm:.1f} mm is the limit")

    def addresses(self, where: str, frames: list[Row]) -> None:
        counts = [0, 0, 0]
        for row in frames:
            level = row["blip_level"]
            if level not in ("0", "1", "2", "3"):
                self.problem(where, f"frame {row['seq']} has mark level {level!r}")
                return
            expected = next_address(counts, int(level)) if level != "0" else ""
            if row["predicted_address"] != expected:
                self.problem(where, f"frame {row['seq']} has address {row['predicted_address']!r}, not {expected!r}")
                return

    def index(self, index: list[Row], by_roll: Mapping[str, list[Row]]) -> None:
        expected = []
        for roll, frames in by_roll.items():
            for run in _documents(frames):
                first, last = run[0], run[-1]
                addresses = (first["predicted_address"], last["predicted_address"])
                expected.append((roll, first["doc_id"], str(len(run)), first["seq"], last["seq"], *addresses))
        names = ["roll_no", "doc_id", "page_count", "first_seq", "last_seq", "first_address", "last_address"]
        found = [tuple(row[name] for name in names) for row in index]
        for missing in sorted(set(expected) - set(found)):
            self.problem("index.csv", f"has no right row for document {missing[1]} on roll {missing[0]}")
        for extra in sorted(set(found) - set(expected)):
            self.problem("index.csv", f"document {extra[1]} on roll {extra[0]} is not so in frames.csv")
        if len(set(found)) < len(found):
            self.problem("index.csv", "has a row twice")

    def manifest(self, rolls: list[Row]) -> None:
        data = self.read(MANIFEST)
        listed: dict[str, str] = {}
        for number, line in enumerate((data or b"").decode("utf-8", "replace").splitlines(), start=1):
            parts = MANIFEST_LINE.fullmatch(line)
            if not parts or parts[2] in listed:
                self.problem(MANIFEST, f"line {number} is damaged or a repetition")
            else:
                listed[parts[2]] = parts[1]
        present = set(self.files())
        for path in sorted(present - set(listed) - {MANIFEST}):
            self.problem(path, "is not in the manifest")
        for path in sorted(set(listed) - present):
            self.problem(path, "is in the manifest but not in the folder")
        for path in sorted(present & set(listed)):
            digest = self.digests.get(path) or file_digest(self.folder / path)
            if digest != listed[path]:
                self.problem(path, "is not the file of the manifest: its SHA-256 is another")
        known = {f"ROLL_{row['roll_no']}" for row in rolls}
        for entry in sorted(self.folder.iterdir()):
            if entry.is_dir() and entry.name not in known:
                self.problem(entry.name, "is no roll of rolls.csv")

    def files(self) -> Iterator[str]:
        """Every plain file, in the folder and one level below: there is nothing deeper."""
        for entry in sorted(self.folder.iterdir()):
            inside = sorted(entry.iterdir()) if entry.is_dir() and not entry.is_symlink() else [entry]
            for path in inside:
                name = path.relative_to(self.folder).as_posix()
                if path.is_symlink() or not path.is_file():
                    self.problem(name, "is not a plain file")
                else:
                    yield name


def _documents(frames: Sequence[Row]) -> Iterator[list[Row]]:
    """The page frames of one document after the other."""
    run: list[Row] = []
    for row in frames:
        if run and (row["kind"] != "doc" or row["doc_id"] != run[0]["doc_id"]):
            yield run
            run = []
        if row["kind"] == "doc":
            run.append(row)
    if run:
        yield run


def _number(text: str) -> float:
    """A number of a table; infinite, which is beyond every limit, if it is none."""
    try:
        number = float(text)
    except ValueError:
        return inf
    return inf if isnan(number) else number
