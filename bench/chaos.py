"""Nothing lost, nothing billed twice: 300 documents of 6 orders while processes, servers, disk and Tesseract fail.

Four set-ups after an undisturbed run with the same documents: what each customer gets must be the same. One order is
under quality control, with two reviewers who are killed too. BENCH_DOCUMENTS is how many documents there are (300
unless it is given), BENCH_SETUPS a part of the set-ups' names.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from bench import servers
from bench.tables import print_table
from tests.disks import small_disk
from tests.whole.chaos import Chaos, FailingBureau, Job, Outcome

DOCUMENTS = 300
SEED = 2026
WORKERS = 3
PAUSE_S = 5.0  # a fault that often
DISK_MIB = 512
TIME_LIMIT_S = 3 * 3600.0
ORDERS = (
    ("WO-1", "normal", ("imaging", "film")),
    ("WO-2", "rush", ("imaging",)),
    ("WO-3", "overnight", ("imaging",)),
    ("WO-4", "normal", ("imaging",)),
    ("WO-5", "normal", ("imaging", "film")),
    ("WO-6", "overnight", ("imaging",)),
)
INSPECTED = "WO-5"
SETUPS = (
    ("SQLite", "embedded"),
    ("PostgreSQL", "embedded"),
    ("PostgreSQL", "Redis"),
    ("PostgreSQL", "RabbitMQ"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a set-up went through, what came out, and what `platen verify` says of it."""

    chaos: Chaos
    outcomes: dict[str, Outcome]
    faults: list[str]


def run() -> None:
    """Run the documents undisturbed, then through each set-up, and print what came out of each."""
    jobs = list(_jobs(int(os.environ.get("BENCH_DOCUMENTS", DOCUMENTS))))
    pages = sum(job.pages for job in jobs)
    undisturbed = _result(jobs, "SQLite", "embedded", seed=None)
    rows = [_row("undisturbed", jobs, undisturbed, undisturbed)]
    for database, broker in SETUPS:
        name = f"{broker}, {database}"
        if os.environ.get("BENCH_SETUPS", "") in name:
            rows.append(_row(name, jobs, _result(jobs, database, broker, seed=SEED), undisturbed))
            print(" | ".join(rows[-1]) + "\n", flush=True)  # a long run may be cut
    print(
        f"{pages} pages in {sum(len(job.documents) for job in jobs)} documents of {len(jobs)} orders, {WORKERS} workers"
    )
    print_table(
        (
            "set-up", "minutes", "faults", "tasks handed out again", "pages billed", "documents", "packages",
            "pages judged", "same as undisturbed", "verify",
        ),
        rows,
    )  # fmt: skip


def _jobs(documents: int) -> Iterator[Job]:
    for number, (order, priority, services) in enumerate(ORDERS):
        count = len(range(number, documents, len(ORDERS)))
        sizes = tuple(2 + (3 * document + number) % 11 for document in range(count))  # 2 to 12, 7 on average
        yield Job(
            number=order, priority=priority, services=services, batches=5, documents=sizes, inspected=order == INSPECTED
        )


def _result(jobs: list[Job], database: str, broker: str, *, seed: int | None) -> Result:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-chaos-")))
        stack.enter_context(small_disk(folder / "home", DISK_MIB))
        server = stack.enter_context(servers.database(database))
        shared = stack.enter_context(servers.broker(broker))
        bureau = FailingBureau(
            folder, database_url=server.empty_database() if server else "", postgresql=server, broker=shared
        )
        bureau.open_orders(jobs)
        chaos = bureau.run(jobs, workers=WORKERS, seed=seed, pause_s=PAUSE_S, time_limit_s=TIME_LIMIT_S)
        bureau.close()
        return Result(
            chaos=chaos,
            outcomes={job.number: bureau.outcome(job.number) for job in jobs},
            faults=bureau.home.ask("verify")["faults"],
        )


def _row(name: str, jobs: list[Job], result: Result, undisturbed: Result) -> tuple[str, ...]:
    outcomes = result.outcomes.values()
    judged = result.outcomes[INSPECTED].looked_at
    print(f"{name}: {dict(result.chaos.faults)}; done again: {dict(result.chaos.again)}")
    for number, outcome in result.outcomes.items():
        for field in fields(outcome):
            now, before = (getattr(each, field.name) for each in (outcome, undisturbed.outcomes[number]))
            if now != before:
                print(f"{number}, {field.name} was {before}, is {now}")
    return (
        name,
        f"{result.chaos.seconds / 60:.0f}",
        str(result.chaos.faults.total()),
        str(result.chaos.again["handed out again"]),
        f"{sum(o.pages['billable'] for o in outcomes)} of {sum(job.pages for job in jobs)}",
        f"{sum(len(o.documents) for o in outcomes)} of {sum(len(job.documents) for job in jobs)}",
        f"{sum(o.packages for o in outcomes)} of {len(jobs)}",
        f"{len(judged)}, {'each once' if set(judged) == {1} else 'NOT ONCE'}",
        "yes" if result.outcomes == undisturbed.outcomes else "NO",
        "clean" if not result.faults else f"{len(result.faults)} faults: {result.faults[0]}",
    )
