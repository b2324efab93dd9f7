"""Records in custody: kept on object storage as on a folder, copied while the floor works, restored elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.backup import back_up
from pipeline.bureau import Bureau
from pipeline.model import TaskKind
from pipeline.settings import Settings
from tests.servers import S3
from tests.whole.home import PLATEN, Home, drop_small_pages, wait_until

pytestmark = [pytest.mark.whole, pytest.mark.tool]


def _open(home: Home, number: str) -> None:
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", number,
                "--service", "imaging", "--service", "film")  # fmt: skip


def _finish(home: Home, number: str) -> Any:
    """Close the order, work off what is left, and give what the customer sees of it."""
    home.platen("order", "close", number)
    home.platen("run", "--until-idle")
    return home.ask("order", "show", number)


def _outcome(shown: Any) -> dict[str, Any]:
    return {
        "status": shown["status"],
        "pages": shown["pages"],
        "documents": [(d["id"], d["title"], d["pages"], d["conforms"]) for d in shown["documents"]],
        "frames": [roll["frames"] for roll in shown["rolls"]],
        "charges": [(c["fee_code"], c["quantity"], c["amount"]) for c in shown["charges"]],
        "seals": [batch["seal"] for batch in shown["batches"]],
    }


def _verify(home: Home, *, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(home.platen("verify", "--json", codes=(code,)))
    return found


def test_an_order_is_delivered_from_object_storage_and_damage_there_is_told(tmp_path: Path, s3: S3) -> None:
    bucket = s3.new_bucket()
    home = Home(tmp_path / "home")
    home.environment |= {**s3.environment, "PLATEN_STORE_URL": f"s3://{bucket}/records", "PLATEN_CACHE_MB": "64"}
    home.platen("init")
    [store] = [finding for finding in home.ask("doctor") if finding["name"] == "store"]
    assert store["version"] == f"s3://{bucket}/records"
    _open(home, "WO-1")
    drop_small_pages(tmp_path / "box", 2)
    home.platen("intake", str(tmp_path / "box"), "--order", "WO-1")
    home.platen("run", "--until-idle")
    [document] = home.ask("order", "show", "WO-1")["documents"]
    assert document["pdf"].startswith(f"s3://{bucket}/records/")
    shutil.rmtree(home.folder / "cache")  # another machine has nothing of it
    shown = _finish(home, "WO-1")
    assert (shown["status"], shown["pages"]["billable"]) == ("delivered", 2)
    assert not (home.folder / "store").exists()
    found = _verify(home)
    assert (found["faults"], found["files"]) == ([], 10)

    page = home.ask("page", "show", "WO-1", "box", "1")
    damaged, missing = (page[name].removeprefix("s3://") for name in ("scan", "delivered"))
    s3.ask("PUT", damaged, b"something else")
    s3.ask("DELETE", missing)
    digests = ["".join(place.split("/")[-2:]) for place in (damaged, missing)]
    assert _verify(home, code=1)["faults"] == [
        f"WO-1, batch box, page 1: its file {digests[0]} in the store is damaged.",
        f"WO-1, batch box, page 1: its file {digests[1]} is missing from the store.",
    ]
    home.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    done = subprocess.run([PLATEN, "verify"], env=home.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"s3://{bucket}/records could not be asked" in " ".join(done.stderr.split())


def test_a_backup_taken_in_mid_work_is_restored_elsewhere_and_finishes_the_same(tmp_path: Path) -> None:
    original, restored = Home(tmp_path / "original" / "home"), Home(tmp_path / "restored" / "home")
    original.environment["PLATEN_WORKERS"] = "1"  # so that work is left when the backup is taken
    original.folder.parent.mkdir()
    original.platen("init")
    _open(original, "WO-DONE")
    drop_small_pages(tmp_path / "first", 1, first=200)
    original.platen("intake", str(tmp_path / "first"), "--order", "WO-DONE")
    done = _outcome(_finish(original, "WO-DONE"))

    _open(original, "WO-1")
    drop_small_pages(original.folder / "inbox" / "WO-1" / "box", 8)
    backup = tmp_path / "backup"
    first = original.ask("backup", str(backup))
    assert (first["faults"], first["folders"]) == ([], 2)  # a package and a film
    bureau = Bureau.open(Settings(home=original.folder))
    try:
        floor = original.start()
        wait_until(lambda: bureau.ledger.floor().kinds[TaskKind.PREPARE_PAGE]["done"] >= 3)
        second = back_up(bureau, backup)  # from here: before a command had started, the floor could have finished
    finally:
        bureau.close()
    assert floor.wait(timeout=300) == 0
    assert (second.faults, second.folders) == ((), 0)  # the package and the film were there already
    assert second.files >= 8

    shutil.copytree(backup, restored.folder)
    restored.platen("init")
    found = _verify(restored)
    assert found["faults"] == []
    assert found["packages"] == 1
    assert any(told.startswith("WO-1 is open; not finished: ") for told in found["told"])

    expected = _outcome(_finish(original, "WO-1"))
    assert expected["pages"]["billable"] == 8
    assert _outcome(_finish(restored, "WO-1")) == expected
    assert _outcome(restored.ask("order", "show", "WO-DONE")) == done
    assert _verify(original)["faults"] == []
    assert _verify(restored)["faults"] == []
