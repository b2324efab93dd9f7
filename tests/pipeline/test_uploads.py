"""What uploads promise: what was said comes whole, becomes one batch, and nothing else lies in the inbox."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline import uploads
from pipeline.bureau import Bureau
from pipeline.intake import DeliveredFile
from pipeline.ledger import Ledger, OrderNotOpen
from pipeline.ledger.lookups import UploadLook
from pipeline.model import Priority, Sha256, TaskKind, WorkOrder
from pipeline.orders import open_order
from pipeline.tasks import do_task
from pipeline.uploads import Upload
from tests.pipeline.by_hand import open_order as open_in
from workers.watcher import Watcher

FILES = {"page 2.pdf": b"not a scan", "sub/page 1.pdf": b"nor this", "empty.pdf": b""}


def opened(bureau: Bureau, number: str = "WO-1") -> WorkOrder:
    return open_order(
        bureau,
        customer="DPHHS",
        profile="records-bitonal",
        services=[],
        priority=Priority.NORMAL,
        who="t",
        number=number,
    )


def said(files: dict[str, bytes]) -> list[DeliveredFile]:
    return [
        DeliveredFile(name=name, size=len(data), digest=Sha256(hashlib.sha256(data).hexdigest()))
        for name, data in files.items()
    ]


def begin(bureau: Bureau, files: dict[str, bytes] = FILES, name: str = "box-1") -> Upload:
    order = bureau.ledger.order("WO-1") or opened(bureau)
    return uploads.begin_upload(bureau, order, name, said(files), who="lee")


def send(bureau: Bureau, upload: Upload, number: int, data: bytes, *, offset: int = 0) -> uploads.Arrived:
    receiver = uploads.receive_piece(bureau, upload, number, offset=offset, size_bytes=None)
    try:
        receiver.write(data)
        return receiver.finish()
    finally:
        receiver.close()


def send_all(bureau: Bureau, upload: Upload, files: dict[str, bytes] = FILES) -> None:
    for number, data in enumerate(files.values(), start=1):
        assert send(bureau, upload, number, data).verified


def complete(bureau: Bureau, upload: Upload) -> UploadLook:
    return uploads.complete_upload(bureau, upload.id, who="lee")


def take_in(bureau: Bureau) -> int:
    """Do every delivery that is due; gives how many."""
    handed = [hint for hint in bureau.ledger.dispatch("w", 100) if hint[0] is TaskKind.RECEIVE_BATCH]
    for _, task_id, attempt in handed:
        task = bureau.ledger.claim(task_id, attempt, "w")
        assert task is not None
        do_task(bureau, task, owner="w")
    bureau.ledger.give_back("w")
    return len(handed)


def batches(bureau: Bureau, number: str = "WO-1") -> list[tuple[str, str]]:
    order = bureau.ledger.order(number)
    assert order is not None
    return [(batch.name, batch.digest) for batch in bureau.ledger.batches_of(order.id)]


def left_in_inbox(bureau: Bureau) -> list[str]:
    inbox = bureau.settings.folder("inbox")
    return [path.relative_to(inbox).as_posix() for path in inbox.rglob("*") if path.is_file()]


def test_an_upload_becomes_the_batch_that_dropping_the_folder_makes(bureau: Bureau) -> None:
    upload = begin(bureau)
    opened(bureau, "WO-2")
    dropped = bureau.settings.folder("inbox") / "WO-2" / "box-1"
    for name, data in FILES.items():
        (dropped / name).parent.mkdir(parents=True, exist_ok=True)
        (dropped / name).write_bytes(data)
    send_all(bureau, upload)
    assert complete(bureau, upload).outcome == ""
    watcher = Watcher(bureau)
    watcher.look()
    watcher.look()
    assert take_in(bureau) == 2
    assert batches(bureau) == batches(bureau, "WO-2") == [("box-1", upload.digest)]
    look = complete(bureau, upload)
    assert (look.outcome, look.batch_digest, look.held_as) == ("received", upload.digest, None)
    done = bureau.settings.folder("done") / "WO-1" / "box-1"
    assert {path.relative_to(done).as_posix() for path in done.rglob("*") if path.is_file()} == set(FILES)
    assert uploads.sweep_uploads(bureau) == 1 and left_in_inbox(bureau) == []
    assert complete(bureau, upload) == look, "it is known when its folder is gone"


def test_a_file_goes_on_where_it_broke_off_however_it_is_cut(bureau: Bureau) -> None:
    data = random.Random(7).randbytes(100_000)
    cuts = random.Random(8)
    upload = begin(bureau, {"a.tif": data})
    here = 0
    while not uploads.arrived(bureau, upload)[0].verified:
        piece = data[here : here + cuts.randrange(1, 30_000)]
        here = send(bureau, upload, 1, piece, offset=here).received
        assert uploads.arrived(bureau, upload)[0].received == here
        for elsewhere in {0, here - 1, here + 1} - {here, -1}:
            with pytest.raises((uploads.OtherOffset, uploads.LargerThanSaid)):
                send(bureau, upload, 1, b"x", offset=elsewhere)
    complete(bureau, upload)
    take_in(bureau)
    assert batches(bureau) == [("box-1", upload.digest)]


def test_a_file_that_is_not_what_was_said_is_thrown_away_and_can_come_again(bureau: Bureau) -> None:
    upload = begin(bureau, {"a.tif": b"right"})
    with pytest.raises(uploads.OtherDigest, match="thrown away"):
        send(bureau, upload, 1, b"wrong")
    with pytest.raises(uploads.NotWhole, match=r"a\.tif"):
        complete(bureau, upload)
    assert send(bureau, upload, 1, b"right").verified
    assert send(bureau, upload, 1, b"", offset=5).verified, "asked again, it is there"
    complete(bureau, upload)
    take_in(bureau)
    assert len(batches(bureau)) == 1


def test_a_file_larger_than_said_leaves_what_was_there_before(bureau: Bureau) -> None:
    upload = begin(bureau, {"a.tif": b"12345678"})
    send(bureau, upload, 1, b"1234")
    receiver = uploads.receive_piece(bureau, upload, 1, offset=4, size_bytes=None)
    receiver.write(b"567")
    with pytest.raises(uploads.LargerThanSaid, match="8 bytes"):
        receiver.write(b"89")
    receiver.close()
    with pytest.raises(uploads.LargerThanSaid):
        uploads.receive_piece(bureau, upload, 1, offset=4, size_bytes=5)
    assert uploads.arrived(bureau, upload)[0].received == 4
    assert send(bureau, upload, 1, b"5678", offset=4).verified


def test_two_senders_of_one_file_do_not_mix_their_bytes(bureau: Bureau) -> None:
    upload = begin(bureau, {"a.tif": b"12345678"})
    first = uploads.receive_piece(bureau, upload, 1, offset=0, size_bytes=None)
    first.write(b"1234")
    with pytest.raises(uploads.BeingSent):
        uploads.receive_piece(bureau, upload, 1, offset=4, size_bytes=None)
    first.close()
    assert send(bureau, upload, 1, b"5678", offset=4).verified


def together(doing: Sequence[Callable[[], object]]) -> list[object]:
    """What came of calls that were made at the same time."""
    outcomes: list[object] = []
    gate = threading.Barrier(len(doing))

    def one(do: Callable[[], object]) -> None:
        gate.wait()
        try:
            outcomes.append(do())
        except uploads.UploadRefused as error:
            outcomes.append(error)

    threads = [threading.Thread(target=one, args=(do,)) for do in doing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_completed_by_many_at_once_it_is_one_batch(bureau: Bureau) -> None:
    upload = begin(bureau)
    send_all(bureau, upload)
    outcomes = together([lambda: complete(bureau, upload)] * 4 + [lambda: take_in(bureau)] * 2)
    looks = [one for one in outcomes if isinstance(one, UploadLook)]
    assert looks and len({look.delivery for look in looks}) == 1
    assert not [one for one in outcomes if isinstance(one, uploads.NotWhole)], "what is moved on is not missing"
    take_in(bureau)
    assert batches(bureau) == [("box-1", upload.digest)]
    with pytest.raises(uploads.UploadOver):
        send(bureau, upload, 1, b"")
    with pytest.raises(uploads.UploadRefused):
        uploads.abandon_upload(bureau, upload.id)


def test_the_same_scans_uploaded_twice_wait_for_a_person(bureau: Bureau) -> None:
    for name in ("box-1", "again"):
        upload = begin(bureau, name=name)
        send_all(bureau, upload)
        complete(bureau, upload)
        take_in(bureau)
    look = complete(bureau, upload)
    assert look.held_as is not None and "already" in look.sentence
    assert len(batches(bureau)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "", "/etc/passwd", "../x.tif", "a/../../x.tif", "a//b.tif", "a/", ".", "..", "./a.tif", "a\\b.tif", "a\nb.tif",
        "a\0b.tif", "a\u202etif.exe", ".hidden", "a/.hidden/b.tif", "Thumbs.db", "x.part", "WHY.txt", "a/WHY.txt",
        "__MACOSX/a.tif", "ä" * 128 + ".tif", "a/" * 600 + "x", "\udce4.tif",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_would_be_lost_are_refused_at_once(bureau: Bureau, name: str) -> None:
    for wrong in (
        lambda: begin(bureau, {name: b"x", "good.tif": b"y"}),
        lambda: begin(bureau, {"good.tif": b"y"}, name=name or "a/b"),
    ):
        with pytest.raises(uploads.BadUpload):
            wrong()
    assert left_in_inbox(bureau) == []


def test_a_file_cannot_be_a_folder_too_nor_come_twice(bureau: Bureau) -> None:
    order = opened(bureau)
    for files in (said({"a": b"x", "a/b": b"y"}), said({"a": b"x"}) * 2, []):
        with pytest.raises(uploads.BadUpload):
            uploads.begin_upload(bureau, order, "box", files, who="lee")


def test_limits_are_told(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    order = opened(bureau)
    large = [DeliveredFile(name="a.tif", size=(65_536 << 20) + 1, digest=Sha256("0" * 64))]
    with pytest.raises(uploads.BadUpload, match="at most 65536 MiB"):
        uploads.begin_upload(bureau, order, "box", large, who="lee")
    many = [DeliveredFile(name=f"{number}.tif", size=1, digest=Sha256("0" * 64)) for number in range(10_001)]
    with pytest.raises(uploads.BadUpload, match="10000 files"):
        uploads.begin_upload(bureau, order, "box", many, who="lee")
    monkeypatch.setattr(uploads, "MOST_OPEN", 1)
    begin(bureau)
    with pytest.raises(uploads.TooManyUploads):
        begin(bureau)
    with pytest.raises(uploads.NoSuchUpload):
        uploads.upload_with_id(bureau, "../" + "0" * 29)


def test_a_full_disk_is_told_before_anything_is_written(bureau: Bureau) -> None:
    whole_mb = shutil.disk_usage(bureau.settings.home).total >> 20  # to be kept free, and never is
    full = bureau.settings.model_copy(update={"min_free_mb": whole_mb})
    upload = begin(bureau)
    object.__setattr__(bureau, "settings", full)
    with pytest.raises(uploads.NoRoom):
        begin(bureau)
    with pytest.raises(uploads.NoRoom):
        send(bureau, upload, 1, b"x")


def test_what_nobody_goes_on_with_is_swept_and_nothing_else(bureau: Bureau) -> None:
    given_up, under_way, whole = begin(bureau), begin(bureau), begin(bureau)
    send(bureau, given_up, 1, FILES["page 2.pdf"][:3])
    send_all(bureau, whole)
    complete(bureau, whole)
    folder = bureau.settings.folder("inbox") / uploads.UPLOADS_FOLDER
    long_ago = 1_000_000_000

    def age(place: Path) -> None:
        for path in (*place.rglob("*"), place):
            os.utime(path, (long_ago, long_ago))

    age(folder / given_up.id)
    age(folder / whole.id)
    assert uploads.sweep_uploads(bureau) == 1
    assert {path.name for path in folder.iterdir()} == {under_way.id, whole.id}, "what intake has not taken yet stays"
    take_in(bureau)
    assert uploads.sweep_uploads(bureau) == 1
    assert batches(bureau) == [("box-1", whole.digest)]
    with pytest.raises(uploads.NoSuchUpload):
        complete(bureau, given_up)
    uploads.abandon_upload(bureau, under_way.id)
    assert not list(folder.iterdir())


def test_an_order_that_is_closed_takes_no_upload_and_loses_none(bureau: Bureau) -> None:
    upload = begin(bureau)
    first = begin(bureau, {"first.pdf": b"x"}, name="first")
    send(bureau, first, 1, b"x")
    complete(bureau, first)
    take_in(bureau)
    send_all(bureau, upload)
    bureau.ledger.close_order("WO-1", who="keller")
    with pytest.raises(OrderNotOpen, match="closed"):
        complete(bureau, upload)
    with pytest.raises(OrderNotOpen, match="closed"):
        begin(bureau)
    bureau.ledger.reopen_order("WO-1", who="keller")
    complete(bureau, upload)
    take_in(bureau)
    assert [name for name, _ in batches(bureau)] == ["first", "box-1"]


def test_any_console_takes_the_next_piece(bureau: Bureau) -> None:
    upload = begin(bureau, {"a.tif": b"12345678"})
    other = Bureau.open(bureau.settings)
    try:
        send(bureau, upload, 1, b"1234")
        elsewhere = uploads.upload_with_id(other, upload.id)
        assert elsewhere == upload and send(other, elsewhere, 1, b"5678", offset=4).verified
        assert complete(bureau, upload) == complete(other, upload)
    finally:
        other.close()


def test_what_the_house_takes_in_by_hand_where_it_lies_is_not_announced_again(bureau: Bureau) -> None:
    opened(bureau)
    upload = begin(bureau)
    send_all(bureau, upload)
    place = bureau.settings.folder("inbox") / uploads.UPLOADS_FOLDER / upload.id / "batch"
    by_hand = bureau.ledger.announce_delivery(
        source=str(place), name="batch", order_number="WO-1", moves=False, who="root"
    )
    with pytest.raises(uploads.TakenInByHand):
        complete(bureau, upload)
    take_in(bureau)
    [(name, _)] = batches(bureau)
    assert name == "batch" and bureau.ledger.batch_of_delivery(by_hand[0]) is not None
    assert complete(bureau, upload).name == "box-1", "and when that is over it is a delivery like any other"


def test_an_upload_is_announced_once_for_ever_on_both_databases(ledger: Ledger) -> None:
    order = open_in(ledger)

    def announce() -> object:
        return ledger.announce_delivery(
            source="/inbox/x", name="box", order_number=order.number, moves=True, who="lee", upload="0" * 32
        )

    [first, *others] = together([announce] * 6)
    assert others == [first] * 5
    look = ledger.upload_look("0" * 32)
    assert look is not None and (look.order, look.name, look.outcome) == (order.number, "box", "")
    ledger.note_moved(look.delivery, "/elsewhere")
    assert announce() == first
    ledger.finish_delivery(look.delivery, "refused for a reason")
    assert announce() == first
    again = ledger.upload_look("0" * 32)
    assert again is not None and again.outcome == "refused for a reason"
    dropped = ledger.announce_delivery(source="/inbox/x", name="box", order_number=order.number, moves=True, who="w")
    assert dropped != first, "a folder that is dropped in the same place is another delivery"
