"""Sending a batch from the browser: whole and once, or nothing, and only by a form of this console."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from pipeline.bureau import Bureau
from pipeline.model import OrderStatus
from tests.browser import chromium
from tests.console.served import served
from tests.console.test_orders import bureau, kinds_of, text_of
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.pipeline.test_uploads import begin, left_in_inbox, opened, take_in
from tests.whole.home import wait_until

__all__ = ["bureau"]  # the fixture

PAGE = "/orders/WO-1/drop"
SCANS = {"page 1.pdf": b"first" * 100_000, "page 2.pdf": b"--boundary\r\nnot the end", "empty.pdf": b""}


def fields(client: httpx.Client, name: str = "box-1") -> dict[str, str]:
    return {"form_token": form_token(client.get(PAGE).text), "name": name}


def parts(files: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (name, data)) for name, data in files.items()]


def test_a_batch_from_the_browser_is_the_batch_of_the_same_files(bureau: Bureau) -> None:
    order = opened(bureau)
    upload = begin(bureau, SCANS)
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        assert f'href="{PAGE}"' in client.get("/orders/WO-1").text
        sent = client.post(PAGE, data=fields(client), files=parts(SCANS))
        assert (sent.status_code, sent.headers["location"]) == (303, "/orders/WO-1")
        take_in(bureau)
        [batch] = bureau.ledger.batches_of(order.id)
        assert (batch.name, batch.digest) == ("box-1", upload.digest)
        assert ("seen", "lee", None) in kinds_of(bureau, order)


@pytest.mark.parametrize(
    ("files", "name", "why"),
    [
        ({"a.pdf": b"x", "../b.pdf": b"y"}, "box", "cannot be kept|passes by"),
        ({"a.pdf": b"x"}, "../box", "passes by"),
        ({"a.pdf": b"x"}, " ", "cannot be kept"),
        ({"Thumbs.db": b"x"}, "box", "would be lost"),
        ({"": b""}, "box", "1 to 10000 files"),
        ({"a.pdf": b"x", "a.pdf/b.pdf": b"y"}, "box", "is a file and a folder"),
    ],
)
def test_what_cannot_be_a_batch_is_told_and_leaves_nothing(
    bureau: Bureau, files: dict[str, bytes], name: str, why: str
) -> None:
    opened(bureau)
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        answer = client.post(PAGE, data=fields(client, name), files=parts(files))
        assert answer.status_code == 409
        assert any(one in text_of(answer) for one in why.split("|"))
        assert "Nothing was taken" in text_of(answer)
    assert left_in_inbox(bureau) == [] and take_in(bureau) == 0


def test_a_form_that_this_console_did_not_give_writes_nothing(bureau: Bureau) -> None:
    opened(bureau)
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        good = fields(client)
        # also one whose files stand before the token
        late = [*parts(SCANS), *(("", (None, value)) for value in good.values())]
        for answer in (
            client.post(PAGE, data={**good, "form_token": "made up"}, files=parts(SCANS)),
            client.post(PAGE, files=[("form_token", ("", b"")), *parts(SCANS)]),
            client.post(PAGE, files=late),  # type: ignore[arg-type]
        ):
            assert answer.status_code == 403
        for wrong in ("application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary="):
            answer = client.post(PAGE, content=b"name=x", headers={"content-type": wrong})
            assert answer.status_code in (403, 422), wrong
        client.cookies.clear()
        sign_in(client, "audit", PASSWORD)
        assert client.post(PAGE, data=good, files=parts(SCANS)).status_code == 403
        client.cookies.clear()
        assert client.post(PAGE, data=good, files=parts(SCANS)).headers["location"] == "/sign-in"
    assert left_in_inbox(bureau) == [] and take_in(bureau) == 0


def test_a_browser_that_is_cut_off_leaves_nothing(bureau: Bureau) -> None:
    opened(bureau)
    folder = bureau.settings.folder("inbox") / ".uploads"
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        request = client.build_request("POST", PAGE, data=fields(client), files=parts(SCANS))
        body = request.read()
        head = [f"POST {PAGE} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items()), "", ""]
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
            line.sendall("\r\n".join(head).encode() + body[: len(body) // 2])
            wait_until(lambda: folder.is_dir() and list(folder.rglob("page 1.pdf")), seconds=20)
        wait_until(lambda: not list(folder.iterdir()), seconds=20)
    assert take_in(bureau) == 0


def test_a_closed_order_takes_no_batch_from_the_browser(bureau: Bureau) -> None:
    order = opened(bureau)
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        given = fields(client)
        client.post(PAGE, data=given, files=parts(SCANS))
        take_in(bureau)
        assert bureau.ledger.close_order(order.number, who="test").status is OrderStatus.CLOSED
        answer = client.post(PAGE, data={**given, "name": "late"}, files=parts({"b.pdf": b"x"}))
        assert answer.status_code == 409 and "Reopen it" in text_of(answer)
        assert f'href="{PAGE}"' not in client.get("/orders/WO-1").text


@pytest.mark.tool
def test_an_operator_sends_files_with_a_real_browser(bureau: Bureau, tmp_path: Path) -> None:
    order = opened(bureau)
    files = {"Grundbuch Ä 1.pdf": b"one", 'quoted " 2.pdf': b"two"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with served(bureau) as client, chromium() as browser:
        page = browser.new_page(base_url=str(client.base_url))
        page.goto("/sign-in")
        page.get_by_label("Name").fill("lee")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button").click()
        page.goto(PAGE)
        page.get_by_label("Name of the batch").fill("Schachtel 7")
        page.get_by_label("Scans").set_input_files([tmp_path / name for name in files])
        page.get_by_role("button", name="Send it").click()
        page.wait_for_url("**/orders/WO-1")
    take_in(bureau)
    [batch] = bureau.ledger.batches_of(order.id)
    assert batch.name == "Schachtel 7"
    # browsers write a quotation mark so (HTML, multipart form data); it is kept as it came
    assert {page.file for page in bureau.ledger.pages_of_batch(batch.id)} == {"Grundbuch Ä 1.pdf", "quoted %22 2.pdf"}
