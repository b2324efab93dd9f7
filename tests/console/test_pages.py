"""The screens of pages: thumbnails of a batch, and each page before and after, with its text and history."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator

import pytest
from PIL import Image

from console.pages import KEPT
from pipeline.bureau import Bureau
from pipeline.ledger.lookups import PAGES_A_SCREEN
from pipeline.model import PageId, TaskKind
from pipeline.pictures import Edge
from pipeline.settings import Settings
from stages.page_image import Box, Line, TextLayer, Word
from tests.browser import chromium, tab
from tests.browser import sign_in as enter
from tests.console.served import served
from tests.console.test_orders import BOTH, CHEAP_HASH, NAMES, bureau, text_of
from tests.console.test_signing_in import PASSWORD, sign_in
from tests.pipeline.by_hand import open_order, receive, run_hint, work_off
from tests.whole.home import Home, drop_small_pages

__all__ = ["bureau"]  # the fixture


@pytest.fixture(scope="module")
def worked_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bureau]:
    """A bureau that has converted a batch of three pages, and holds a file that is no picture."""
    home = Home(tmp_path_factory.mktemp("pages") / "home")
    home.platen("init")
    home.platen("order", "open", "--customer", "DPHHS", "--profile", "records-bitonal", "--number", "WO-1")
    drop_small_pages(home.folder / "inbox" / "WO-1" / "box", 3)
    (home.folder / "inbox" / "WO-1" / "broken.tif").write_bytes(b"II*\0no picture")
    home.platen("run", "--until-idle", codes=(3,))
    made = Bureau.open(Settings(home=home.folder))
    for name, (role, customer) in NAMES.items():
        made.ledger.add_user(name, CHEAP_HASH, role, customer=customer, must_change=False, who="test")
    yield made
    made.close()


def batch_place(made: Bureau, name: str) -> str:
    order = made.ledger.order("WO-1")
    assert order is not None
    [batch_id] = [batch.id for batch in made.ledger.batches_of(order.id) if batch.name == name]
    return f"/orders/WO-1/batches/{batch_id}"


def thumbnails(page: str) -> list[str]:
    return [html.unescape(place) for place in re.findall(r'<img src="([^"]+thumbnail[^"]+)"', page)]


@pytest.mark.tool
def test_the_pages_of_a_batch_are_seen_as_small_pictures_that_are_drawn_once(worked_off: Bureau) -> None:
    with served(worked_off) as client:
        sign_in(client, "lee", PASSWORD)
        page = client.get(batch_place(worked_off, "box"))
        assert text_of(page).count("billable") == 3 and "Page 3" in text_of(page)
        places = thumbnails(page.text)
        assert len(places) == 3 and page.text.count('width="144" height="176" loading="lazy"') == 3
        answers = [client.get(place) for place in places]
        for answer in answers:
            assert answer.headers["cache-control"] == KEPT["cache-control"]
            picture = Image.open(io.BytesIO(answer.content))
            assert picture.format == "WEBP" and max(picture.size) == Edge.THUMBNAIL
            assert min(picture.convert("L").tobytes()) < 200, "its ink is seen"
        drawn = {path: path.stat().st_mtime_ns for path in worked_off.settings.cache_folder.rglob("*.webp")}
        assert len(drawn) == 3
        assert [client.get(place).content for place in places] == [answer.content for answer in answers]
        assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
        assert client.get(places[0].partition("?")[0]).headers["cache-control"] == "no-store", "it may be another soon"
    assert not [path for path in worked_off.settings.cache_folder.rglob(".*")], "nothing half-drawn is left"


@pytest.mark.tool
def test_a_page_is_seen_before_and_after_with_its_text_and_what_was_done(worked_off: Bureau) -> None:
    with served(worked_off) as client:
        sign_in(client, "audit", PASSWORD)
        first = re.findall(r'href="(/pages/\d+)"', client.get(batch_place(worked_off, "box")).text)[0]
        page = client.get(first)
        seen = text_of(page)
        assert "Page 1 billable" in seen and "first page" in seen and "0000.tif" in seen
        assert "record county clerk filed" in seen or "Sheet 1001" in seen
        assert re.search(r"read with \d+% confidence", seen)
        assert (
            "deskew.angle_deg" in seen
            and "page 1 of batch box prepared by the floor" in seen
            and "recognized by the floor" in seen
        )
        for kind in ("scan", "page"):
            [place] = set(re.findall(rf'<img src="([^"]+/{kind}.webp[^"]+)"', page.text))
            answer = client.get(place)
            assert answer.headers["cache-control"] == KEPT["cache-control"]
            picture = Image.open(io.BytesIO(answer.content))
            assert max(picture.size) <= Edge.VIEW and min(picture.size) > Edge.THUMBNAIL
        client.cookies.clear()
        sign_in(client, "agency", PASSWORD)
        theirs = client.get(first)
        assert theirs.status_code == 200 and "What was done to it" not in theirs.text


@pytest.mark.tool
def test_each_word_is_laid_over_its_own_ink(worked_off: Bureau) -> None:
    with served(worked_off) as client:
        sign_in(client, "lee", PASSWORD)
        place = re.findall(r'href="(/pages/\d+)"', client.get(batch_place(worked_off, "box")).text)[0]
        page = client.get(place).text
        picture = Image.open(io.BytesIO(client.get(f"{place}/page.webp").content)).convert("L")
    [size] = re.findall(r'class="words" viewBox="0 0 (\d+) (\d+)"', page)
    scale = picture.width / int(size[0])
    assert picture.height / int(size[1]) == pytest.approx(scale, rel=0.01)
    words = re.findall(r'<polygon[^>]* points="([^"]+)"><title>([^<]+) – \d+%</title>', page)
    assert len(words) > 10
    for corners, text in words:
        across, down = zip(*(map(float, corner.split(",")) for corner in corners.split()), strict=True)
        box = (min(across) * scale, min(down) * scale, max(across) * scale, max(down) * scale)
        assert min(picture.crop(tuple(map(round, box))).tobytes()) < 128, f"there is ink under {text}"


@pytest.mark.tool
def test_a_page_that_cannot_be_drawn_is_shown_without_a_picture_and_says_why_it_is_held(worked_off: Bureau) -> None:
    with served(worked_off) as client:
        sign_in(client, "keller", PASSWORD)
        batch = client.get(batch_place(worked_off, "broken.tif"))
        assert "held for a person" in text_of(batch)
        answer = client.get(thumbnails(batch.text)[0])
        assert answer.status_code == 404 and "no picture" in answer.text
        opened = client.get(thumbnails(batch.text)[0], headers={"Accept": "text/html"})
        assert opened.status_code == 404 and "cannot be read" in opened.text
        [place] = re.findall(r'href="(/pages/\d+)"', batch.text)
        page = text_of(client.get(place))
        assert "cannot be read" in page and "It has not been prepared: it is held." in page


@pytest.mark.tool
def test_pages_and_pictures_of_others_are_not_there(worked_off: Bureau) -> None:
    with served(worked_off) as client:
        sign_in(client, "keller", PASSWORD)
        batch = batch_place(worked_off, "box")
        page = re.findall(r'href="(/pages/\d+)"', client.get(batch).text)[0]
        places = [batch, page, *(f"{page}/{kind}.webp" for kind in ("scan", "page", "thumbnail"))]
        assert [client.get(place).status_code for place in places] == [200] * len(places)
        for wrong in (
            f"{page}/other.webp",
            "/pages/0",
            "/pages/x",
            f"/pages/{'9' * 30}",
            f"{batch}9",
            f"{batch}?after=-",
        ):
            assert client.get(wrong).status_code == 404, wrong
        client.cookies.clear()
        assert {client.get(place).headers["location"] for place in places} == {"/sign-in"}
        sign_in(client, "stranger", PASSWORD)
        assert [client.get(place).status_code for place in places] == [404] * len(places)


@pytest.mark.tool
def test_pages_are_turned_by_the_arrow_keys(worked_off: Bureau) -> None:
    with served(worked_off) as client, chromium() as browser:
        screen = browser.new_page(base_url=str(client.base_url))
        faults: list[str] = []
        screen.on("pageerror", lambda error: faults.append(str(error)))
        screen.goto("/sign-in")
        screen.fill("#name", "lee")
        screen.fill("#password", PASSWORD)
        screen.click("button")
        screen.goto(batch_place(worked_off, "box"))
        screen.click("text=Page 1")
        screen.wait_for_selector("h1:has-text('Page 1')")
        for key, heading in (("ArrowRight", "Page 2"), ("ArrowRight", "Page 3"), ("ArrowLeft", "Page 2")):
            screen.wait_for_load_state()  # the script is deferred
            screen.keyboard.press(key)
            screen.wait_for_selector(f"h1:has-text('{heading}')")
        screen.wait_for_function("[...document.images].every(image => image.naturalWidth > 0)")
    assert not faults


@pytest.mark.tool
def test_a_picture_that_the_browser_keeps_is_not_for_who_signs_in_next_at_the_same_machine(worked_off: Bureau) -> None:
    ask = "place => fetch(place).then(answer => answer.status)"
    with served(worked_off) as client, chromium() as browser:
        screen = tab(browser, str(client.base_url))
        enter(screen, "agency", PASSWORD)
        screen.goto(batch_place(worked_off, "box"))
        place = screen.locator("img").first.get_attribute("src")
        assert screen.evaluate(ask, place) == 200
        screen.get_by_role("button", name="Sign out").click()
        enter(screen, "stranger", PASSWORD)
        screen.wait_for_selector("nav")
        assert screen.evaluate(ask, place) == 404


@BOTH
def test_a_page_scanned_again_stands_behind_the_scan_it_replaces(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    batch_id = receive(bureau.ledger, order, 3)
    assert batch_id is not None
    for number, (_, task_id, attempt) in enumerate(bureau.ledger.dispatch("w", 3)):
        if number == 1:
            task = bureau.ledger.claim(task_id, attempt, "w")
            assert task is not None
            bureau.ledger.hold(task, "unreadable", "It cannot be read.", who="w")
        else:
            run_hint(bureau.ledger, task_id, attempt)
    [hold] = bureau.ledger.holds()
    assert hold.page_id is not None
    new = bureau.ledger.replace_page(hold.page_id, "new.tif", bureau.store.put_bytes(b"x"), who="keller", why="torn")
    work_off(bureau.ledger)
    squares = bureau.ledger.page_squares(batch_id)
    assert [(one.sequence, one.revision, one.state) for one in squares] == [
        (1, 0, "billable"), (2, 0, "rescan"), (2, 1, "billable"), (3, 0, "billable"),
    ]  # fmt: skip
    look = bureau.ledger.page_look(new)
    assert look is not None
    assert (look.before, look.after) == (squares[1].id, squares[3].id)
    ends = [bureau.ledger.page_look(one.id) for one in (squares[0], squares[3])]
    assert ends[0] is not None and ends[1] is not None
    assert (ends[0].before, ends[1].after) == (None, None)
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        page = text_of(client.get(f"/pages/{hold.page_id}"))
        assert "left out: scanned again" in page and "replaced by keller torn" in page


def test_a_large_batch_is_shown_in_screens_and_no_page_is_missing(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    batch_id = receive(bureau.ledger, order, PAGES_A_SCREEN + 2)
    assert batch_id is not None
    screens = [bureau.ledger.page_squares(batch_id, after=after) for after in (0, PAGES_A_SCREEN)]
    assert [len(squares) for squares in screens] == [PAGES_A_SCREEN, 2]
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        place = f"/orders/{order.number}/batches/{batch_id}"
        first = client.get(place).text
        further = re.search(r'rel="next" href="([^"]+)"', first)
        assert further is not None and len(thumbnails(first)) == PAGES_A_SCREEN
        second = client.get(further[1]).text
        assert len(thumbnails(second)) == 2 and 'rel="next"' not in second


def test_what_was_read_is_shown_as_text_and_doubtful_words_are_marked(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    receive(bureau.ledger, order, 1)
    box = Box(0, 0, 9, 9)
    words = (
        Word(text="<script>", box=box, confidence=0.95),
        Word(text="\u202e\x1b[31m", box=box, confidence=0.41),
    )
    text = TextLayer(lines=(Line(block=0, box=box, words=words),), width_px=9, height_px=9)
    kept = bureau.store.put_bytes(text.to_json())
    page_id = 0
    while handed := bureau.ledger.dispatch("w", 5):
        for kind, task_id, attempt in handed:
            if kind is not TaskKind.RECOGNIZE_PAGE:
                run_hint(bureau.ledger, task_id, attempt)
                continue
            task = bureau.ledger.claim(task_id, attempt, "w")
            assert task is not None
            page_id = task.subject_id
            readings = {"ocr.words": 2, "page.width_px": 9, "page.height_px": 9}
            bureau.ledger.record_recognized(task, kept, None, 0.5, readings, who="w")
    assert bureau.ledger.page(PageId(page_id)).text == kept
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        page = client.get(f"/pages/{page_id}").text
    assert "&lt;script&gt;" in page and "<script>" not in page
    assert '<mark title="read with 41% confidence">��[31m' in page
    assert "\x1b" not in page and "\u202e" not in page
