"""Whatever dies, every page is processed, delivered once and billed once, on every set-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.servers import PostgreSQL, Server
from tests.whole.chaos import FailingBureau, Job, Outcome

pytestmark = [pytest.mark.whole, pytest.mark.tool]

JOBS = [
    Job(number="WO-A", priority="normal", services=("imaging", "film"), batches=2, documents=(1, 5, 2, 7, 3, 4, 6)),
    Job(number="WO-B", priority="rush", services=("imaging",), batches=2, documents=(2, 4, 3, 5), inspected=True),
]
SETUPS = [("sqlite", None), ("postgresql", None), ("postgresql", "redis_server"), ("postgresql", "rabbitmq_server")]
DISK_MIB = 64
PAUSE_S = 1.5
TIME_LIMIT_S = 800.0
LEAST_FAULTS = 3  # a quick machine is done after some 25 s
FAIL_FOR_S = 40.0  # then it is let finish: each loss of a broker may cost half a minute of lease


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    bureau = FailingBureau(tmp_path_factory.mktemp("undisturbed"))
    bureau.open_orders(JOBS)
    chaos = bureau.run(JOBS, workers=2, seed=None, pause_s=1.0, time_limit_s=TIME_LIMIT_S)
    assert chaos.faults.total() == chaos.again.total() == 0
    bureau.close()
    outcomes = {job.number: bureau.outcome(job.number) for job in JOBS}
    for job in JOBS:
        assert outcomes[job.number].status == "delivered"
        assert outcomes[job.number].pages["billable"] == job.pages
        assert len(outcomes[job.number].documents) == len(job.documents)
    inspected = outcomes["WO-B"]
    assert [
        [line[name] for name in ("batch", "pages", "sample", "looked_at", "major", "sample_rejected", "state")]
        for line in inspected.quality
    ] == [["box-1", "5", "2", "2", "0", "no", "passed"], ["box-2", "9", "3", "9", "2", "yes", "passed"]]
    assert inspected.looked_at == [1] * (2 + 9 + 1)  # the new scan of one page too
    assert inspected.pages["excluded"]["rescan"] == 1
    return outcomes


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("database", "broker"), SETUPS, ids=lambda name: name or "embedded")
def test_whatever_fails_every_page_is_delivered_and_billed_once(
    tmp_path: Path, request: pytest.FixtureRequest, undisturbed: dict[str, Outcome], database: str, broker: str | None
) -> None:
    server: PostgreSQL | None = request.getfixturevalue("postgresql") if database == "postgresql" else None
    shared: Server | None = request.getfixturevalue(broker) if broker else None
    with small_disk(tmp_path / "home", DISK_MIB):
        bureau = FailingBureau(
            tmp_path, database_url=server.empty_database() if server else "", postgresql=server, broker=shared
        )
        bureau.open_orders(JOBS)
        chaos = bureau.run(JOBS, workers=3, seed=11, pause_s=PAUSE_S, time_limit_s=TIME_LIMIT_S, fail_for_s=FAIL_FOR_S)
        print(f"{chaos.seconds:.0f} s; {dict(chaos.faults)}; done again: {dict(chaos.again)}")
        bureau.close()
        assert chaos.faults.total() >= LEAST_FAULTS
        assert {job.number: bureau.outcome(job.number) for job in JOBS} == undisturbed
        assert bureau.home.ask("verify")["faults"] == []
