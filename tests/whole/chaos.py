"""A bureau whose processes, servers, disk and recogniser fail at random moments, and what came of its orders.

The processes are those of `docker-compose.yml`, started again when they end, as its restart rule says.
"""

from __future__ import annotations

import csv
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fixtures.tools import Fault, FaultyTesseract
from pipeline.ledger import AWAITING_INSPECTION, QUALITY_DEFECT, Ledger
from pipeline.model import Exclusion, OrderStatus
from stages.fonts import font
from tests.conftest import ROOT
from tests.disks import filled
from tests.servers import PostgreSQL, Server
from tests.whole.home import PLATEN, WORDS, Home
from tests.whole.reviewer import SCANNED_BY

LOOK_S = 0.2
TASK_TIMEOUT_S = 20.0  # a recogniser that hangs is stopped then; a small page takes one or two
STOPPED_S = 18.0  # longer than a worker may be silent (15 s): its work is given to another while it still has it
DOWN_S = (0.3, 3.0)  # how long a server is away
FULL_S = (2.0, 6.0)  # how long the disk is full
INSPECTED = "records-inspected"  # the profile of orders under quality control
REVIEWERS = ("ann", "bea")  # two, who get in each other's way
OF_REVIEWERS = (AWAITING_INSPECTION, QUALITY_DEFECT)  # holds that they decide
BY_CHANCE = ("seed", "passed_at")  # columns of quality.csv that differ from run to run


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is dropped for one order: documents with so many pages, in so many batches."""

    number: str
    priority: str
    services: tuple[str, ...]
    batches: int
    documents: tuple[int, ...]  # pages of each
    inspected: bool = False  # under quality control; a batch called `SPOILT` fails and goes to 100 %

    @property
    def pages(self) -> int:
        """Pages in all."""
        return sum(self.documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a customer gets of an order."""

    status: str
    pages: dict[str, Any]
    documents: list[tuple[str, int, bool]]  # title, pages, conforms
    texts: dict[str, str]  # by title
    frames: list[int]
    charges: list[tuple[str, str, str]]
    packages: int
    quality: list[dict[str, str]]  # lines of quality.csv
    looked_at: list[int]  # how often each page that was looked at was judged


@dataclass(slots=True, kw_only=True)
class Chaos:
    """What was done to a bureau, and what it had to do again."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)  # tasks, by why they were done again


class Processes:
    """The processes of the compose file on this machine, and reviewers, each started again when it ends."""

    def __init__(self, home: Home, *, workers: int, with_feeder: bool, reviewers: Sequence[str] = ()) -> None:
        services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        copies = {"watcher": 1, "feeder": 2 if with_feeder else 0, "worker": workers, "documents": 1}
        self._environment = home.environment
        self._folder = home.folder.parent
        self._log = (self._folder / "processes.log").open("ab")
        self._commands: dict[str, list[str | Path]] = {
            f"{name} {copy}": [PLATEN, *services[name]["command"][1:]]
            for name, n in copies.items()
            for copy in range(n)
        } | {f"reviewer {name}": [sys.executable, ROOT / "tests/whole/reviewer.py", name] for name in reviewers}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped: dict[str, float] = {}  # until when

    def tend(self) -> None:
        """Start what does not run, let go on what has been stopped long enough."""
        for name, command in self._commands.items():
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                self._stopped.pop(name, None)
                self._running[name] = subprocess.Popen(
                    command, env=self._environment, cwd=self._folder, stdout=self._log, stderr=self._log
                )
        for name, until in list(self._stopped.items()):
            if time.monotonic() >= until:
                del self._stopped[name]
                self._running[name].send_signal(signal.SIGCONT)

    def kill(self, name: str, moments: random.Random) -> None:
        """End one where it stands: the command, or any of the processes below it."""
        os.kill(moments.choice(_tree(self._running[name].pid)), signal.SIGKILL)

    def hang(self, name: str, seconds: float) -> None:
        """Let one stand still for a while."""
        self._running[name].send_signal(signal.SIGSTOP)
        self._stopped[name] = time.monotonic() + seconds

    def named(self, *kinds: str) -> list[str]:
        """Names of the running processes of some kinds."""
        return [name for name in self._commands if name.split()[0] in kinds]

    def stop(self) -> None:
        """Tell all to stop, and wait until they have."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            for process in self._running.values():
                process.wait(timeout=40)
        finally:
            for process in self._running.values():
                process.kill()
            self._log.close()


class FailingBureau:
    """A bureau with jobs to do, and everything that can fail about it."""

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        postgresql: PostgreSQL | None = None,
        broker: Server | None = None,
    ) -> None:
        self.home = Home(folder / "home")
        self.tesseract = FaultyTesseract(folder / "programs")
        self.home.environment |= {
            "PATH": f"{self.tesseract.folder}{os.pathsep}{os.environ['PATH']}",
            "PLATEN_DATABASE_URL": database_url,
            "PLATEN_BROKER_URL": broker.url if broker else "embedded",
            "PLATEN_WORKERS": "1",
            "PLATEN_TASK_TIMEOUT_SECONDS": str(TASK_TIMEOUT_S),
            "PLATEN_MIN_FREE_MB": "0",  # the full disk is to be met, not avoided
            "OMP_THREAD_LIMIT": "1",
        }
        self.home.add_profile(INSPECTED, '[qc]\nplan = "percent"\npercent = 30')
        self.home.platen("init")
        self.ledger = Ledger(database_url or f"sqlite:///{self.home.folder / 'ledger.db'}")
        self._postgresql = postgresql
        self._broker = broker

    def close(self) -> None:
        """Give the ledger's connections back."""
        self.ledger.close()

    def open_orders(self, jobs: list[Job]) -> None:
        """Open an order for each job."""
        for job in jobs:
            services = [text for service in job.services for text in ("--service", service)]
            profile = INSPECTED if job.inspected else "records-bitonal"
            self.home.platen("order", "open", "--customer", "C", "--profile", profile, "--number", job.number,
                             "--priority", job.priority, *services)  # fmt: skip

    def drop(self, job: Job) -> None:
        """Drop the batches of a job, as a scanner that writes a file a document does."""
        for batch in range(job.batches):
            folder = self.home.folder / "inbox" / job.number / f"box-{batch + 1}"
            scratch = folder.with_name(f"_{folder.name}")
            scratch.mkdir(parents=True)
            (scratch / ".operator").write_text(SCANNED_BY)
            for number in range(batch, len(job.documents), job.batches):
                write_document(scratch / f"{number + 1:04d}.tif", f"{job.number} {number + 1}", job.documents[number])
            scratch.rename(folder)

    def run(
        self,
        jobs: list[Job],
        *,
        workers: int,
        seed: int | None,
        pause_s: float,
        time_limit_s: float,
        fail_for_s: float = math.inf,
    ) -> Chaos:
        """Drop everything; let things fail every `pause_s` on average (if there is a seed) till all is delivered."""
        chaos, moments = Chaos(), random.Random(seed)
        begin = time.monotonic()
        processes = Processes(
            self.home,
            workers=workers,
            with_feeder=self._broker is not None,
            reviewers=REVIEWERS if any(job.inspected for job in jobs) else (),
        )
        try:
            processes.tend()
            for job in jobs:
                self.drop(job)
            to_close = list(jobs)
            next_fault = time.monotonic() + moments.expovariate(1 / pause_s)
            while not self._all_delivered(jobs, to_close, chaos):
                assert time.monotonic() - begin < time_limit_s, f"not done in time: {self.home.platen('status')}"
                processes.tend()
                failing = seed is not None and time.monotonic() - begin < fail_for_s
                if failing and time.monotonic() >= next_fault:
                    self._fail(processes, moments, chaos)
                    next_fault = time.monotonic() + moments.expovariate(1 / pause_s)
                time.sleep(LOOK_S)
        finally:
            processes.stop()
        chaos.seconds = time.monotonic() - begin
        with self.ledger.read() as c:
            chaos.again["handed out again"] = c.execute(
                text("SELECT count(*) FROM tasks WHERE attempt > 1")
            ).scalar_one()
        for order in self.ledger.orders():
            chaos.again.update(event.kind for event in self.ledger.events(order.id) if event.kind in ("lost", "failed"))
        return chaos

    def outcome(self, number: str) -> Outcome:
        """What the customer of an order gets."""
        shown = self.home.ask("order", "show", number)
        texts = {}
        for document in shown["documents"]:
            pdf = self.home.folder / document["pdf"]
            read = subprocess.run(["pdftotext", "-raw", pdf, "-"], capture_output=True, text=True, check=True)
            texts[document["title"]] = read.stdout
        history = self.home.ask("order", "history", number)
        judged = Counter(line["subject"] for line in history if line["kind"] == "looked at")
        return Outcome(
            status=shown["status"],
            pages=shown["pages"],
            documents=sorted((d["title"], d["pages"], d["conforms"]) for d in shown["documents"]),
            texts=texts,
            frames=sorted(roll["frames"] for roll in shown["rolls"]),
            charges=sorted((c["fee_code"], c["quantity"], c["amount"]) for c in shown["charges"]),
            packages=len(list((self.home.folder / "outbox").glob(f"*/{number}/*/bagit.txt"))),
            quality=_quality(self.home.folder / shown["package"] / "data" / "quality.csv"),
            looked_at=sorted(judged.values()),
        )

    def _all_delivered(self, jobs: list[Job], to_close: list[Job], chaos: Chaos) -> bool:
        """Do what people do meanwhile: close an order when all of it is in, decide what is held."""
        try:
            for job in list(to_close):
                order = self.ledger.order(job.number)
                if order is None:
                    continue
                pages = self.ledger.order_counts(order.id)
                if pages.received - pages.excluded.get(Exclusion.RESCAN, 0) == job.pages:
                    self.home.platen("order", "close", job.number)
                    to_close.remove(job)
            for hold in self.ledger.holds():
                if hold.code in OF_REVIEWERS:
                    continue
                chaos.again[f"held: {hold.code}"] += 1
                self.home.platen("held", "retry", str(hold.id), "--why", "the machine failed, not the page")
            return not to_close and all(order.status is OrderStatus.DELIVERED for order in self.ledger.orders())
        except (DBAPIError, AssertionError):
            # the ledger, or the disk, is away at this moment; a person would try again too
            return False

    def _fail(self, processes: Processes, moments: random.Random, chaos: Chaos) -> None:
        def kill(*kinds: str) -> None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                processes.kill(moments.choice(processes.named(*kinds)), moments)

        kinds: dict[str, tuple[float, Callable[[], None]]] = {
            "worker killed": (8, lambda: kill("worker", "documents")),
            "watcher killed": (1, lambda: kill("watcher")),
            "worker hung": (0.5, lambda: processes.hang(moments.choice(processes.named("worker")), STOPPED_S)),
            "tesseract hangs": (0.5, lambda: self.tesseract.lay(Fault.HANG)),
            "tesseract crashes": (1, lambda: self.tesseract.lay(Fault.CRASH)),
            "tesseract writes rubbish": (1, lambda: self.tesseract.lay(Fault.RUBBISH)),
        }
        if (broker := self._broker) is not None:
            kinds["feeder killed"] = (2, lambda: kill("feeder"))
            kinds["broker killed"] = (1, lambda: _away(broker.kill, broker.start, moments))
        if (server := self._postgresql) is not None:
            kinds["PostgreSQL stopped"] = (
                1, lambda: _away(lambda: server.stop(signal.SIGQUIT), server.start, moments)
            )  # fmt: skip
        if processes.named("reviewer"):
            kinds["reviewer killed"] = (2, lambda: kill("reviewer"))
        if self.home.folder.is_mount():
            kinds["disk full"] = (1, lambda: _without_room(self.home.folder, moments.uniform(*FULL_S)))
        name = moments.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        kinds[name][1]()
        chaos.faults[name] += 1


def write_document(path: Path, name: str, pages: int) -> None:
    """A G4 TIFF of a document whose every page says which it is."""
    images = []
    for page in range(pages):
        seed = sum(name.encode()) + page
        lines = [f"Document {name}", f"Sheet {page + 1} of {pages}"] + [
            " ".join(WORDS[(seed * 7 + row * 5 + column * 3) % len(WORDS)] for column in range(6)) for row in range(2)
        ]
        image = Image.new("L", (1000, 560), 255)
        draw = ImageDraw.Draw(image)
        for row, line in enumerate(lines):
            draw.text((90, 80 + row * 90), line, fill=0, font=font(42))
        images.append(image.convert("1"))
    images[0].save(path, save_all=True, append_images=images[1:], compression="group4", dpi=(200, 200))


def _quality(file: Path) -> list[dict[str, str]]:
    """What an order's package tells of its quality control, apart from chance; nothing where there was none.

    By batch: which of two that were dropped together is taken in first is chance.
    """
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        told = [{name: line[name] for name in line if name not in BY_CHANCE} for line in csv.DictReader(lines)]
    return sorted(told, key=lambda line: line["batch"])


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    below = [int(child) for file in Path("/proc").glob(f"{pid}/task/*/children") for child in file.read_text().split()]
    return [pid, *(found for child in below for found in _tree(child))]


def _away(stop: Callable[[], None], start: Callable[[], None], moments: random.Random) -> None:
    stop()
    time.sleep(moments.uniform(*DOWN_S))
    start()


def _without_room(folder: Path, seconds: float) -> None:
    with filled(folder):
        time.sleep(seconds)
