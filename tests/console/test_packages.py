"""The screens of packages and the links to them: what an agency finds, and that it is all there and nothing else."""

from __future__ import annotations

import hashlib
import html
import io
import random
import re
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import bagit
import httpx
import pytest
from sqlalchemy import text

from console import packages
from console.links import MOST_WRONG
from console.package_answers import zip_stream
from pipeline.bureau import Bureau
from pipeline.model import Priority, Sha256, WorkOrder
from pipeline.orders import open_order
from pipeline.package_files import PackageDamaged, PackageFile
from pipeline.package_links import MOST_DAYS, make_link
from pipeline.settings import Settings
from tests.console.served import served
from tests.console.test_orders import CHEAP_HASH, NAMES, text_of
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.whole.home import Home, drop_small_pages

pytestmark = pytest.mark.tool
OVER = "It is wrong, it is over, or it was withdrawn."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("packages") / "home")


@pytest.fixture(scope="module")
def delivered(home: Home) -> Iterator[Bureau]:
    """A bureau with a package for each of two agencies, and an order that has not gone out."""
    made = Bureau.init(Settings(home=home.folder))
    orders = (("WO-1", "DPHHS", "Deeds of 1921"), ("WO-2", "OTHER", "Wills"), ("WO-3", "DPHHS", ""))
    for number, customer, title in orders:
        open_order(
            made, customer=customer, profile="records-bitonal", number=number, title=title, services=[],
            priority=Priority.NORMAL, who="test",
        )  # fmt: skip
    for first, place in enumerate(("WO-1/Carbon County", "WO-1/Yellowstone", "WO-2/Secret will")):
        drop_small_pages(home.folder / "inbox" / place, 1, first=first)
    home.platen("run", "--until-idle")
    for number in ("WO-1", "WO-2"):
        made.ledger.close_order(number, who="test")
    home.platen("run", "--until-idle")
    for name, (role, customer) in NAMES.items():
        made.ledger.add_user(name, CHEAP_HASH, role, customer=customer, must_change=False, who="test")
    yield made
    made.close()


def order_of(made: Bureau, number: str) -> WorkOrder:
    order = made.ledger.order(number)
    assert order is not None
    return order


def folder_of(made: Bureau, number: str) -> Path:
    return made.settings.home / str(order_of(made, number).package)


def addresses(page: str, part: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'href="([^"]+)"', page) if part in found]


def test_an_agency_signs_in_and_finds_its_packages_and_nothing_of_anyone_elses(delivered: Bureau) -> None:
    with served(delivered) as client:
        assert sign_in(client, "agency", PASSWORD).headers["location"] == "/packages"
        seen = text_of(client.get("/packages"))
        assert "WO-1 Deeds of 1921 DPHHS" in seen
        for others in ("WO-2", "Wills", "OTHER", "WO-3"):
            assert others not in seen
        for words, found in (("carbon", "Carbon County"), ("deeds", "WO-1"), ("secret", None), ("wo-2", None)):
            seen = text_of(client.get("/packages", params={"search": words}))
            assert ("Nothing fits." in seen) == (found is None)
            assert found is None or found in seen
        package = client.get("/packages/WO-1/1")
        assert all(one in text_of(package) for one in ("Deeds of 1921", "Carbon County", "Yellowstone", "DPHHS"))
        searched = text_of(client.get("/packages/WO-1/1?search=yellow"))
        assert "Yellowstone" in searched and "Carbon County" not in searched
        for place in ("/packages/WO-2/1", "/packages/WO-1/2", "/packages/WO-3/1", "/packages/WO-1/0", "/packages/x/1"):
            for more in ("", "/package.zip", "/files/data/transmittal.pdf"):
                assert client.get(place + more).status_code == 404
        sign_in_as(client, "stranger")
        assert client.get("/packages/WO-2/1").status_code == 200
        assert client.get("/packages/WO-1/1").status_code == 404


def sign_in_as(client: httpx.Client, name: str) -> None:
    client.cookies.clear()
    sign_in(client, name, PASSWORD)


def test_every_file_of_a_package_comes_as_it_was_promised_and_to_be_kept(delivered: Bureau) -> None:
    folder = folder_of(delivered, "WO-1")
    with served(delivered) as client:
        sign_in(client, "agency", PASSWORD)
        page = client.get("/packages/WO-1/1").text
        places = set(addresses(page, "/files/"))
        assert len(places) == len([path for path in folder.rglob("*") if path.is_file()])
        for place in places:
            answer = client.get(place)
            name = place.partition("/files/")[2]
            assert answer.content == (folder / name).read_bytes()
            digest = hashlib.sha256(answer.content).hexdigest()
            assert answer.headers["etag"] == f'"{digest}"' and digest in page
            assert answer.headers["content-disposition"].startswith("attachment; filename")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not answer.headers["content-type"].startswith("text/html")
        [pdf, _] = [place for place in places if "/data/pdf/" in place]
        assert client.get(pdf).headers["content-type"] == "application/pdf"
        whole = client.get(pdf).content
        part = client.get(pdf, headers={"Range": "bytes=5-24", "If-Range": client.get(pdf).headers["etag"]})
        assert (part.status_code, part.content) == (206, whole[5:25])
        assert client.get(pdf, headers={"Range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize(
    "name",
    [
        "../../../ledger.db", "%2e%2e/%2e%2e/%2e%2e/ledger.db", "..%2f..%2f..%2fledger.db", "data/../data/index.csv",
        "/etc/passwd", "%2fetc%2fpasswd", "data//index.csv", "./bagit.txt", "data", "data/", "", "bagit.txt%00",
        "DATA/index.csv", "data\\index.csv", "..%5c..%5cledger.db", "%ff", "%E2%80%A5/ledger.db",
        "../../../OTHER/WO-2/delivery-1/bagit.txt", "planted.txt", "data/planted.txt",
    ],
)  # fmt: skip
def test_no_name_leads_to_a_file_that_is_not_of_the_package(delivered: Bureau, name: str) -> None:
    folder = folder_of(delivered, "WO-1")
    planted = [folder / "planted.txt", folder / "data" / "planted.txt"]
    for link in planted:
        link.symlink_to(delivered.settings.home / "ledger.db")
    _, token = make_link(delivered, order_of(delivered, "WO-1"), 1, days=1, who="test", why="test")
    try:
        with served(delivered) as client:
            sign_in(client, "agency", PASSWORD)
            cookie = f"platen_session={client.cookies['platen_session']}"
            for base in ("/packages/WO-1/1/files/", f"/links/{token}/files/"):
                # as it stands: httpx would tidy dots away
                connection = HTTPConnection(str(client.base_url.host), client.base_url.port)
                connection.request("GET", base + name, headers={"Cookie": cookie})
                answer = connection.getresponse()
                assert answer.status in (400, 404), base + name
                assert b"SQLite" not in answer.read()
                connection.close()
    finally:
        for link in planted:
            link.unlink()


def test_a_file_that_became_a_link_is_not_followed_even_to_the_same_content(delivered: Bureau, tmp_path: Path) -> None:
    index = folder_of(delivered, "WO-1") / "data" / "index.csv"
    aside = tmp_path / "index.csv"
    index.rename(aside)
    index.symlink_to(aside)
    try:
        with served(delivered) as client:
            sign_in(client, "agency", PASSWORD)
            for place in ("files/data/index.csv", "package.zip"):
                assert client.get(f"/packages/WO-1/1/{place}").status_code == 503
    finally:
        index.unlink()
        aside.rename(index)


def test_the_whole_package_comes_as_one_zip_that_is_a_valid_bag(delivered: Bureau, tmp_path: Path) -> None:
    with served(delivered) as client:
        sign_in(client, "keller", PASSWORD)
        answer = client.get("/packages/WO-1/1/package.zip")
    assert (answer.headers["content-type"], "content-length" in answer.headers) == ("application/zip", False)
    assert 'filename="WO-1-delivery-1.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist() if entry.filename.endswith(".pdf")} == {
            zipfile.ZIP_STORED
        }
        archive.extractall(tmp_path)
    bag = bagit.Bag(str(tmp_path / "WO-1-delivery-1"))
    bag.validate()
    assert len(list((tmp_path / "WO-1-delivery-1").rglob("*.pdf"))) == 3


def test_a_zip_is_made_piece_by_piece_and_breaks_off_at_a_file_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1 << 20)  # as if the file below were one of many gigabytes
    contents = {"small.txt": b"small", "large.tif": random.Random(7).randbytes(20 << 20)}
    files = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        digest = Sha256(hashlib.sha256(content).hexdigest())
        files.append(PackageFile(name=name, path=tmp_path / name, size_bytes=len(content), digest=digest))
    pieces = list(zip_stream("bag", files))
    assert max(map(len, pieces)) < 3 << 20, "not more than a piece at a time"
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert {name: archive.read(f"bag/{name}") for name in contents} == contents
    (tmp_path / "large.tif").write_bytes(contents["large.tif"][:-1] + b"x")
    came = io.BytesIO()
    with pytest.raises(PackageDamaged, match=r"large\.tif no longer has the content"):
        for piece in zip_stream("bag", files):
            came.write(piece)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(came)


def test_a_damaged_package_is_not_handed_out_and_no_part_of_it_passes_for_whole(delivered: Bureau) -> None:
    pdf = next(folder_of(delivered, "WO-2").glob("data/pdf/*.pdf"))
    content = pdf.read_bytes()
    with served(delivered) as client:
        sign_in(client, "stranger", PASSWORD)
        place = f"/packages/WO-2/1/files/data/pdf/{pdf.name}"
        assert client.get(place).status_code == 200
        try:
            pdf.write_bytes(content[:-1] + b"x")
            answer = client.get(place)
            assert answer.status_code == 503 and "cannot be handed out now" in answer.text
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                client.get("/packages/WO-2/1/package.zip")
        finally:
            pdf.write_bytes(content)


def test_a_link_shows_one_package_without_signing_in_until_it_is_over_or_revoked(delivered: Bureau) -> None:
    with served(delivered) as client:
        sign_in(client, "keller", PASSWORD)
        page = client.get("/packages/WO-1/1")
        form = {"form_token": form_token(page.text), "days": "7", "why": "for the county clerk"}
        made = client.post("/packages/WO-1/1/links", data=form)
        [address] = re.findall(r'value="(http[^"]+/links/[^"]+)"', made.text)
        assert address not in client.get("/packages/WO-1/1").text, "it is told once"
        client.cookies.clear()
        shown = client.get(address)
        assert shown.status_code == 200
        assert all(one in text_of(shown) for one in ("Deeds of 1921", "DPHHS", "Carbon County", "opens until"))
        places = addresses(shown.text, "/files/")
        assert places and all(client.get(place).status_code == 200 for place in places)
        assert client.get(f"{address}/package.zip").status_code == 200
        for elsewhere in ("/packages/WO-1/1", "/orders/WO-1", "/"):
            assert client.get(elsewhere).headers["location"] == "/sign-in", "it opens nothing else"
        [link, *_] = delivered.ledger.links_of(order_of(delivered, "WO-1").id)
        assert link.used_at is not None
        with delivered.ledger.write() as connection:
            connection.execute(text("UPDATE package_links SET until_ms = 1 WHERE id = :id"), {"id": link.id})
        gone = [client.get(place) for place in (address, f"{address}/package.zip", places[0], f"{address}x")]
        assert [answer.status_code for answer in gone] == [404] * 4
        assert len({answer.text for answer in gone}) == 1 and OVER in gone[0].text, "which of them it was is not told"
    events = [
        (event.kind, event.who, event.detail.get("why"))
        for event in delivered.ledger.events(order_of(delivered, "WO-1").id)
        if event.subject == f"link {link.id}"
    ]
    assert events == [("made", "keller", "for the county clerk"), ("first used", "link", None)]


def test_an_agency_makes_and_revokes_links_to_its_own_packages_alone(delivered: Bureau) -> None:
    with served(delivered) as client:
        sign_in(client, "agency", PASSWORD)
        token = form_token(client.get("/packages/WO-1/1").text)

        def make(place: str, **more: str) -> httpx.Response:
            return client.post(f"{place}/links", data={"form_token": token, "days": "3", "why": "ours", **more})

        [address] = re.findall(r'value="(http[^"]+/links/[^"]+)"', make("/packages/WO-1/1").text)
        assert make("/packages/WO-2/1").status_code == 404
        assert f"1 to {MOST_DAYS} days" in make("/packages/WO-1/1", days="91").text
        assert "Say why" in make("/packages/WO-1/1", why=" ").text
        assert make("/packages/WO-1/1", file="../../ledger.db").status_code == 404
        [link, *_] = delivered.ledger.links_of(order_of(delivered, "WO-1").id)

        def revoke(place: str) -> int:
            return client.post(f"{place}/links/{link.id}/revoke", data={"form_token": token, "why": "lost"}).status_code

        sign_in_as(client, "stranger")
        token = form_token(client.get("/packages/WO-2/1").text)
        assert revoke("/packages/WO-2/1") == 409 and revoke("/packages/WO-1/1") == 404
        assert client.get(address).status_code == 200
        sign_in_as(client, "audit")
        token = form_token(client.get("/packages/WO-1/1").text)
        assert revoke("/packages/WO-1/1") == make("/packages/WO-1/1").status_code == 403
        sign_in_as(client, "agency")
        token = form_token(client.get("/packages/WO-1/1").text)
        assert (revoke("/packages/WO-1/1"), revoke("/packages/WO-1/1")) == (303, 409)
        assert client.get(address).status_code == 404


def test_links_are_kept_by_the_command_and_one_to_a_file_opens_that_file_alone(home: Home, delivered: Bureau) -> None:
    made = home.ask("link", "make", "WO-1", "--days", "2", "--file", "data/transmittal.pdf", "--why", "for the clerk")
    home.platen("link", "make", "WO-3", codes=(2,))
    token = made["address"].rpartition("/")[2]
    with served(delivered) as client:
        assert "data/transmittal.pdf" in text_of(client.get(f"/links/{token}"))
        assert client.get(f"/links/{token}/files/data/transmittal.pdf").status_code == 200
        for more in ("/files/data/index.csv", "/package.zip"):
            assert client.get(f"/links/{token}{more}").status_code == 404
        home.platen("link", "revoke", str(made["id"]), "--why", "sent to the wrong one")
        assert client.get(f"/links/{token}").status_code == 404
    [listed, *_] = home.ask("link", "list", "WO-1")
    assert listed["stands"] == "revoked" and listed["first_used"] is not None
    assert {name: listed[name] for name in ("id", "file", "until")} == {
        name: made[name] for name in ("id", "file", "until")
    }


def test_who_tries_many_links_is_not_listened_to_for_a_while(delivered: Bureau) -> None:
    with served(delivered) as client:
        answers = [client.get(f"/links/{number}").status_code for number in range(MOST_WRONG + 5)]
    assert answers == [404] * MOST_WRONG + [429] * 5


def test_many_files_are_listed_screen_by_screen(delivered: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "FILES_A_SCREEN", 3)
    with served(delivered) as client:
        sign_in(client, "agency", PASSWORD)
        seen: list[str] = []
        place: str | None = "/packages/WO-1/1?files=0"
        while place:
            page = client.get(html.unescape(place)).text
            listed = page.partition("<details")[2]
            seen += addresses(listed, "/files/")
            further = re.search(r'rel="next" href="([^"]+files=[^"]+)"', listed)
            place = further and further[1]
    folder = folder_of(delivered, "WO-1")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(one.partition("/files/")[2] for one in seen) == sorted(
        name for name in names if not name.startswith("data/pdf/")
    )
