"""What assembly promises: pages lie in the documents where people expect them, and every page is accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fixtures.pages import DrawnPage, letter
from fixtures.paper import Paper
from fixtures.scanner import scanned
from fixtures.typefaces import Face
from pipeline.assemble import (
    PartingInDoubt,
    TooManyHeld,
    assemble_batch,
    parting_doubts,
    planned_documents,
    sides_to_prove,
)
from pipeline.bureau import Bureau
from pipeline.model import BatchId, Exclusion, OrderId, Page, PageId, Priority, Service, Sha256, TaskKind
from pipeline.profile import DocumentRules, profile_from_document
from pipeline.tasks import run_task
from stages.sheets import LETTER_MM
from workers.watcher import Watcher

FOLDER = DocumentRules()
SHA = Sha256("0" * 64)


def _page(
    number: int,
    file: str,
    *,
    index: int = 0,
    of: int = 1,
    prepared: bool = True,
    readings: dict[str, object] | None = None,
) -> Page:
    return Page(
        id=PageId(number),
        order_id=OrderId(1),
        batch_id=BatchId(1),
        sequence=number,
        file=file,
        index_in_file=index,
        pages_in_file=of,
        source=SHA,
        prepared=SHA if prepared else None,
        readings=readings or {},  # type: ignore[arg-type]
    )


def _pages(*files: str | tuple[str, int], kinds: dict[int, str] | None = None) -> list[Page]:
    """Pages of files in this order; `kinds` says by page number which are `separator`, `ticket`, `blank`, `held`."""
    readings: dict[str, dict[str, object]] = {
        "separator": {"separators.separator": True},
        "ticket": {"separators.ticket": "WO-1"},
        "blank": {"blank.verdict": "blank"},
        "maybe": {"blank.verdict": "maybe"},
        "strokes": {"blank.verdict": "content", "blank.reason": "marks like strokes"},
        "print": {"blank.verdict": "content", "blank.reason": "print or writing"},
        "doubt": {"separators.separator": False, "separators.doubt": "one code among much print"},
        "first": {"separators.first_page": True},
    }
    pages: list[Page] = []
    for file in files:
        name, count = file if isinstance(file, tuple) else (file, 1)
        for index in range(count):
            number = len(pages) + 1
            kind = (kinds or {}).get(number, "")
            pages.append(
                _page(
                    number, name, index=index, of=count, prepared=kind != "held", readings=dict(readings.get(kind, {}))
                )
            )
    return pages


def _with_codes(page: Page, *codes: str) -> Page:
    return replace(page, readings={**page.readings, "separators.found": list(codes)})


def _plan(pages: list[Page], rules: DocumentRules = FOLDER) -> list[tuple[str, tuple[int, ...]]]:
    documents, _ = planned_documents(pages, rules, batch_name="box")
    return [(document.title, document.pages) for document in documents]


def test_single_pages_of_a_folder_are_one_document_and_a_file_with_pages_is_its_own() -> None:
    pages = _pages("1.tif", ("deed.pdf", 3), "2.tif", ("will.tif", 2))
    assert _plan(pages) == [("box", (1, 5)), ("deed", (2, 3, 4)), ("will", (6, 7))]


def test_each_subfolder_is_a_document_of_its_own() -> None:
    assert _plan(_pages("a/1.tif", "a/2.tif", "b/1.tif", "c/d/1.tif")) == [
        ("box/a", (1, 2)),
        ("box/b", (3,)),
        ("box/c/d", (4,)),
    ]


def test_a_separator_parts_its_own_folder_only_and_is_in_no_document() -> None:
    pages = _pages("a/1.tif", "a/2.tif", "b/1.tif", "a/3.tif", kinds={2: "separator"})
    documents, exclusions = planned_documents(pages, FOLDER, batch_name="box")
    assert [document.pages for document in documents] == [(1,), (3,), (4,)]
    assert exclusions == {PageId(2): Exclusion.SEPARATOR}


def test_a_separator_inside_a_file_parts_that_file() -> None:
    pages = _pages("1.tif", ("scan.tif", 3), "2.tif", kinds={3: "separator"})
    assert _plan(pages) == [("box", (1, 5)), ("scan (1)", (2,)), ("scan (2)", (4,))]


def test_separators_in_a_row_and_at_the_ends_make_no_empty_documents() -> None:
    pages = _pages(
        *(f"{n}.tif" for n in range(1, 7)), kinds={1: "separator", 3: "separator", 4: "separator", 6: "separator"}
    )
    assert _plan(pages) == [("box (1)", (2,)), ("box (2)", (5,))]


def test_a_ticket_counts_as_a_separator_even_where_separators_are_pages() -> None:
    pages = _pages("1.tif", "2.tif", "3.tif", kinds={1: "ticket", 3: "separator"})
    documents, exclusions = planned_documents(pages, DocumentRules(separators=False), batch_name="box")
    assert [document.pages for document in documents] == [(2, 3)]
    assert exclusions == {PageId(1): Exclusion.SEPARATOR}


def test_what_is_surely_blank_falls_out_and_parts_nothing() -> None:
    pages = _pages("1.tif", "2.tif", "3.tif", "4.tif", kinds={2: "blank", 3: "maybe"})
    documents, exclusions = planned_documents(pages, FOLDER, batch_name="box")
    assert [document.pages for document in documents] == [(1, 3, 4)]
    assert exclusions == {PageId(2): Exclusion.BLANK}


def test_blank_pages_stay_where_the_profile_keeps_them() -> None:
    pages = _pages("1.tif", "2.tif", kinds={2: "blank"})
    assert _plan(pages, DocumentRules(exclude_blank="never")) == [("box", (1, 2))]


def test_a_held_page_keeps_its_place() -> None:
    assert _plan(_pages("1.tif", "2.tif", "3.tif", kinds={2: "held"})) == [("box", (1, 2, 3))]


def test_a_fixed_count_of_pages_makes_a_document_whatever_of_them_is_blank() -> None:
    # if blank sides were not counted, one side wrongly called blank would shift all documents behind it
    pages = _pages(*(f"{n}.tif" for n in range(1, 8)), kinds={2: "blank", 5: "held"})
    rules = DocumentRules(by="count", pages_each=2)
    assert [pages for _, pages in _plan(pages, rules)] == [(1,), (3, 4), (5, 6), (7,)]


def test_a_separator_begins_the_count_anew_and_is_not_counted() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 8)), kinds={2: "separator"})
    assert [pages for _, pages in _plan(pages, DocumentRules(by="count", pages_each=2))] == [(1,), (3, 4), (5, 6), (7,)]


def test_a_fixed_count_of_sheets_counts_both_sides_as_one() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 11)), kinds={2: "blank", 5: "separator", 6: "blank"})
    rules = DocumentRules(by="sheet-count", sheets_each=2, duplex=True)
    assert [pages for _, pages in _plan(pages, rules)] == [(1, 3, 4), (7, 8, 9, 10)]
    single = DocumentRules(by="sheet-count", sheets_each=2)
    assert [pages for _, pages in _plan(_pages("1.tif", "2.tif", "3.tif"), single)] == [(1, 2), (3,)]


def test_the_blank_back_of_a_separator_goes_with_it_and_a_written_back_is_kept() -> None:
    keep_blanks = DocumentRules(duplex=True, exclude_blank="never")
    pages = _pages(
        *(f"{n}.tif" for n in range(1, 9)), kinds={3: "separator", 4: "blank", 5: "blank", 6: "separator", 8: "blank"}
    )
    documents, exclusions = planned_documents(pages, keep_blanks, batch_name="box")
    assert [document.pages for document in documents] == [(1, 2), (7, 8)]
    assert exclusions == dict.fromkeys(map(PageId, (3, 4, 5, 6)), Exclusion.SEPARATOR)
    written = _pages("1.tif", "2.tif", "3.tif", "4.tif", kinds={3: "separator", 4: "maybe"})
    documents, exclusions = planned_documents(written, keep_blanks, batch_name="box")
    assert [document.pages for document in documents] == [(1, 2), (4,)]
    assert exclusions == {PageId(3): Exclusion.SEPARATOR}


def test_sheets_are_paired_within_their_file_or_folder() -> None:
    pages = _pages("a/1.tif", "a/2.tif", ("b.tif", 4), "c/1.tif", "c/2.tif", kinds={5: "separator", 6: "blank"})
    documents, exclusions = planned_documents(pages, DocumentRules(duplex=True), batch_name="box")
    assert [document.pages for document in documents] == [(1, 2), (3, 4), (7, 8)]
    assert exclusions == dict.fromkeys(map(PageId, (5, 6)), Exclusion.SEPARATOR)


def test_a_side_left_out_before_still_keeps_the_others_paired() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 7)), kinds={5: "separator", 6: "blank"})
    pages[1] = replace(pages[1], excluded=Exclusion.WAIVED, prepared=None)
    rules = DocumentRules(duplex=True, exclude_blank="never")
    documents, exclusions = planned_documents(pages, rules, batch_name="box")
    assert [document.pages for document in documents] == [(1, 3, 4)]
    assert exclusions == dict.fromkeys(map(PageId, (5, 6)), Exclusion.SEPARATOR)
    assert parting_doubts(pages, rules) == []


def test_a_rescan_takes_the_place_of_its_page_in_the_file_it_was_scanned_for() -> None:
    pages = _pages("1.tif", ("deed.pdf", 3))
    old = pages[2]
    pages[2:3] = [replace(old, excluded=Exclusion.RESCAN), replace(_page(9, "RESCAN-7.tif"), sequence=old.sequence)]
    assert _plan(pages) == [("box", (1,)), ("deed", (2, 9, 4))]


def test_a_sheet_blank_on_both_sides_parts_documents_where_the_profile_says_so() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 9)), kinds={2: "blank", 3: "blank", 5: "blank", 6: "blank"})
    duplex = DocumentRules(by="blank-sheet", duplex=True)
    documents, exclusions = planned_documents(pages, duplex, batch_name="box")
    # sides 2 and 3 are blank and of two sheets
    assert [document.pages for document in documents] == [(1, 4), (7, 8)]
    assert exclusions == {
        PageId(2): Exclusion.BLANK,
        PageId(3): Exclusion.BLANK,
        PageId(5): Exclusion.SEPARATOR,
        PageId(6): Exclusion.SEPARATOR,
    }
    assert [ids for _, ids in _plan(pages, DocumentRules(by="blank-sheet"))] == [(1,), (4,), (7, 8)]
    assert [ids for _, ids in _plan(pages)] == [(1, 4, 7, 8)]


def test_a_sheet_that_is_perhaps_blank_parts_nothing_until_it_is_proven() -> None:
    pages = _pages("1.tif", "2.tif", "3.tif", "4.tif", kinds={3: "blank", 4: "maybe"})
    rules = DocumentRules(by="blank-sheet", duplex=True)
    assert [ids for _, ids in _plan(pages, rules)] == [(1, 2, 4)]
    assert parting_doubts(pages, rules) == ["3.tif: the sheet may be blank, and a blank sheet parts documents"]
    [(side, other)] = sides_to_prove(pages, rules)
    assert (side.id, other.id) == (4, 3)
    documents, exclusions = planned_documents(pages, rules, batch_name="box", proven_blank={side.id})
    assert [document.pages for document in documents] == [(1, 2)]
    assert exclusions == dict.fromkeys(map(PageId, (3, 4)), Exclusion.SEPARATOR)
    assert parting_doubts(pages, rules, proven_blank={side.id}) == []


def test_only_sides_of_whole_sheets_that_were_seen_can_be_proven_by_each_other() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 6)), kinds={1: "maybe", 3: "maybe", 4: "held", 5: "maybe"})
    assert [(side.id, other.id) for side, other in sides_to_prove(pages, DocumentRules(duplex=True))] == [(1, 2)]
    assert sides_to_prove(pages, FOLDER) == []


def test_what_looks_like_strokes_may_be_the_other_sides_and_a_page_full_of_print_is_not() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 5)), kinds={1: "print", 2: "strokes", 3: "print", 4: "print"})
    assert [(side.id, other.id) for side, other in sides_to_prove(pages, DocumentRules(duplex=True))] == [(2, 1)]


def test_a_page_whose_code_says_so_begins_a_document_and_stays_in_it() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 7)), kinds={1: "first", 4: "first"})
    assert [ids for _, ids in _plan(pages)] == [(1, 2, 3), (4, 5, 6)]
    # on the back of a sheet, the document begins with its front
    assert [ids for _, ids in _plan(pages, DocumentRules(duplex=True))] == [(1, 2), (3, 4, 5, 6)]
    assert [ids for _, ids in _plan(pages, DocumentRules(separators=False))] == [(1, 2, 3, 4, 5, 6)]


def test_a_barcode_gives_the_document_its_title_from_the_separator_or_from_a_page() -> None:
    rules = DocumentRules(title_barcode=r"^CASE:(?P<title>.+)$")
    pages = _pages(*(f"{n}.tif" for n in range(1, 8)), kinds={1: "separator", 4: "separator", 6: "separator"})
    pages[0] = _with_codes(pages[0], "patch-T", "qr:CASE:4711 Doe")
    pages[4] = _with_codes(pages[4], "qr:ORDER:1", "code-128:CASE:4712")
    assert _plan(pages, rules) == [("4711 Doe", (2, 3)), ("4712", (5,)), ("box", (7,))]
    assert [title for title, _ in _plan(pages)] == ["box (1)", "box (2)", "box (3)"]
    whole = DocumentRules(title_barcode=r"^CASE:\d+")
    assert [title for title, _ in _plan(pages, whole)] == ["CASE:4711", "CASE:4712", "box"]


def test_a_patch_is_no_title_and_two_titles_on_a_page_are_a_doubt() -> None:
    rules = DocumentRules(title_barcode=".+")
    page = _with_codes(_page(1, "1.tif"), "patch-T")
    assert _plan([page], rules) == [("box", (1,))]
    assert parting_doubts([page], rules) == []
    page = _with_codes(_page(1, "1.tif"), "qr:A", "code-128:A", "qr:B")
    assert parting_doubts([page], rules) == ["1.tif: barcodes name two titles, “A” and “B”"]


def test_a_code_in_doubt_is_a_page_until_a_person_or_the_profile_says_otherwise() -> None:
    pages = _pages("1.tif", ("2.tif", 2), "3.tif", kinds={3: "doubt"})
    assert [ids for _, ids in _plan(pages)] == [(1, 4), (2, 3)]
    assert parting_doubts(pages, FOLDER) == ["2.tif, page 2: one code among much print"]
    for rules in (DocumentRules(codes_in_doubt="page"), DocumentRules(separators=False)):
        assert parting_doubts(pages, rules) == []
        assert [ids for _, ids in _plan(pages, rules)] == [(1, 4), (2, 3)]
    rules = DocumentRules(codes_in_doubt="separator")
    documents, exclusions = planned_documents(pages, rules, batch_name="box")
    assert [document.pages for document in documents] == [(1, 4), (2,)]
    assert exclusions == {PageId(3): Exclusion.SEPARATOR}


def test_an_odd_number_of_sides_is_a_doubt_where_both_sides_are_scanned() -> None:
    pages = _pages("a/1.tif", "a/2.tif", "a/3.tif", ("b.tif", 2))
    assert parting_doubts(pages, FOLDER) == []
    [doubt] = parting_doubts(pages, DocumentRules(duplex=True))
    assert doubt.startswith("folder a has 3 sides, an odd number")
    assert [ids for _, ids in _plan(pages, DocumentRules(duplex=True))] == [(1, 2, 3), (4, 5)]


def test_each_file_is_a_document_where_the_profile_says_so() -> None:
    rules = DocumentRules(by="file")
    assert _plan(_pages("a.tif", "b.tif", ("c.pdf", 2)), rules) == [("a", (1,)), ("b", (2,)), ("c", (3, 4))]


def test_documents_of_one_name_are_numbered() -> None:
    rules = DocumentRules(by="file")
    assert [title for title, _ in _plan(_pages("x/a.tif", "y/a.tif", "b.tif"), rules)] == ["a (1)", "a (2)", "b"]


def test_a_back_that_bears_its_fronts_print_or_staple_alone_is_left_out_and_the_history_says_that_it_was_proven(
    bureau: Bureau,
) -> None:
    empty, noted, stapled, mirrored = (Paper(150.0, LETTER_MM) for _ in range(4))
    noted.line(60, 120, "see file 47/B", Face.SANS, 10, ink=150)
    stapled.stroke([(14, 12), (24, 14)], thick_mm=0.5, ink=100)
    mirrored.stroke([(LETTER_MM[0] - 14, 12), (LETTER_MM[0] - 24, 14)], thick_mm=0.5, ink=100)
    backs = [DrawnPage(pixels=sheet.pixels(), dpi=150.0) for sheet in (empty, noted, stapled)]
    fronts = [letter(seed=seed, dpi=150.0) for seed in (1, 2, 3)]
    fronts[2] = replace(fronts[2], pixels=np.minimum(fronts[2].pixels, mirrored.pixels()))
    document = json.loads(bureau.profiles["records-bitonal"].document_json)
    document["documents"]["duplex"] = True
    bureau.ledger.open_order(
        customer="DPHHS",
        profile=profile_from_document(document, origin="duplex"),
        services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL,
        year=2026,
        who="test",
        number="WO-7",
    )
    box = bureau.settings.folder("inbox") / "WO-7" / "box"
    box.mkdir(parents=True)
    for number, (front, back) in enumerate(zip(fronts, backs, strict=True)):
        for side, scan in (
            ("a", scanned(front, noise_levels=1.5, seed=number)),
            (
                "b",
                scanned(
                    back, bleed_through_of=None if number == 2 else front, bleed_depth=0.15, noise_levels=1.5,
                    seed=number + 5,
                ),
            ),
        ):  # fmt: skip
            Image.fromarray(scan.pixels).save(box / f"{number}{side}.tif", dpi=(150.0, 150.0))
    watcher = Watcher(bureau)
    watcher.look()
    watcher.look()
    while tasks := bureau.ledger.dispatch(
        "w", 5, {TaskKind.RECEIVE_BATCH, TaskKind.PREPARE_PAGE, TaskKind.ASSEMBLE_BATCH}
    ):
        for _, task_id, attempt in tasks:
            run_task(bureau, task_id, attempt, owner="w")
    pages = bureau.ledger.pages_of_batch(BatchId(1))
    assert [page.readings["blank.verdict"] for page in pages[::2]] == ["content"] * 3
    assert "blank" not in [page.readings["blank.verdict"] for page in pages[1::2]]
    assert [page.excluded for page in pages] == [None, Exclusion.BLANK, None, None, None, Exclusion.BLANK]
    [assembled] = [event for event in bureau.ledger.events(pages[0].order_id) if event.kind == "assembled"]
    assert assembled.detail["proven_blank"] == [pages[1].id, pages[5].id]


def _each_page(drawn: list[tuple[str | tuple[str, int], str]]) -> list[tuple[str, str]]:
    """The drawn kind of each page: of a file with several, all pages are of the kind drawn for it."""
    return [
        (file if isinstance(file, str) else file[0], kind)
        for file, kind in drawn
        for _ in range(1 if isinstance(file, str) else file[1])
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a/1.tif", "a/2.tif", "b/1.tif", "3.tif", ("m.tif", 4)]),
            st.sampled_from(["", "separator", "ticket", "blank", "held", "maybe", "doubt", "first", "waived"]),
        ),
        max_size=30,
    ),
    st.builds(
        DocumentRules,
        by=st.sampled_from(["folder", "file", "count", "sheet-count", "blank-sheet"]),
        pages_each=st.just(3),
        sheets_each=st.just(2),
        duplex=st.booleans(),
        separators=st.booleans(),
        exclude_blank=st.sampled_from(["sure", "never"]),
        codes_in_doubt=st.sampled_from(["ask", "page", "separator"]),
    ),
)
def test_every_page_is_in_one_document_or_left_out_with_a_reason(
    drawn: list[tuple[str | tuple[str, int], str]], rules: DocumentRules
) -> None:
    pages = _pages(*(file for file, _ in drawn), kinds=dict(enumerate((k for _, k in _each_page(drawn)), start=1)))
    pages = [
        replace(page, excluded=Exclusion.WAIVED) if kind == "waived" else page
        for page, (_, kind) in zip(pages, _each_page(drawn), strict=True)
    ]
    documents, exclusions = planned_documents(pages, rules, batch_name="box")
    placed = [page for document in documents for page in document.pages]
    assert sorted([*placed, *exclusions]) == [page.id for page in pages if page.excluded is None]
    for page in pages:
        # nothing is left out but for what its own readings say, or for a blank side
        if page.id in exclusions:
            verdict = rules.exclusion_of(page.readings) or page.readings.get("blank.verdict")
            assert verdict in (Exclusion.SEPARATOR, Exclusion.BLANK)
            assert page.prepared is not None
    assert all(document.pages for document in documents)
    assert all(list(document.pages) == sorted(document.pages) for document in documents)


@pytest.mark.parametrize(("held", "pages", "refused"), [(4, 5, False), (5, 25, False), (5, 24, True), (6, 6, True)])
def test_a_batch_of_which_too_many_pages_are_held_waits_for_a_person(
    bureau: Bureau, batch_of: Callable[..., BatchId], held: int, pages: int, refused: bool
) -> None:
    # the profile allows a fifth, and fewer than five never hold a batch
    batch_id = batch_of(pages, held=held)
    [(kind, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    assert kind is TaskKind.ASSEMBLE_BATCH
    task = bureau.ledger.claim(task_id, attempt, "w")
    assert task is not None
    if refused:
        with pytest.raises(TooManyHeld, match=f"{held} of {pages} pages"):
            assemble_batch(bureau, task, who="w")
    else:
        assemble_batch(bureau, task, who="w")
    assert bureau.ledger.batch(batch_id).assembled is not refused


def test_a_batch_with_many_held_pages_goes_on_once_it_is_released(
    bureau: Bureau, batch_of: Callable[..., BatchId]
) -> None:
    batch_id = batch_of(6, held=6)
    task = bureau.ledger.claim(*bureau.ledger.dispatch("w", 1)[0][1:], "w")
    assert task is not None
    bureau.ledger.hold(task, TooManyHeld.code, "6 of 6", who="w")
    [hold] = [hold for hold in bureau.ledger.holds() if hold.kind is TaskKind.ASSEMBLE_BATCH]
    bureau.ledger.decide_release(hold, who="anna", why="they are all photographs")
    again = bureau.ledger.claim(*bureau.ledger.dispatch("w", 1)[0][1:], "w")
    assert again is not None
    assemble_batch(bureau, again, who="w")
    assert bureau.ledger.batch(batch_id).assembled


def test_a_batch_whose_documents_part_in_doubt_waits_for_a_person_who_reads_why(
    bureau: Bureau, batch_of: Callable[..., BatchId]
) -> None:
    batch_id = batch_of(2, held=1)
    [hold] = bureau.ledger.holds()
    bureau.ledger.decide_retry(hold, who="anna", why="the scanner is clean")
    sent = {kind: (task_id, attempt) for kind, task_id, attempt in bureau.ledger.dispatch("w", 2)}
    page_task = bureau.ledger.claim(*sent[TaskKind.PREPARE_PAGE], "w")
    assert page_task is not None
    readings = {"separators.doubt": "patch codes 1 and T contradict each other"}
    bureau.ledger.record_prepared(page_task, SHA, readings, who="w", late_exclusion=None, reads_text=True)
    task = bureau.ledger.claim(*sent[TaskKind.ASSEMBLE_BATCH], "w")
    assert task is not None
    with pytest.raises(PartingInDoubt, match="patch codes 1 and T contradict each other") as refused:
        assemble_batch(bureau, task, who="w")
    assert not bureau.ledger.batch(batch_id).assembled
    bureau.ledger.hold(task, refused.value.code, refused.value.sentence, who="w")
    [hold] = bureau.ledger.holds()
    bureau.ledger.decide_release(hold, who="anna", why="it is a page of the record")
    again = bureau.ledger.claim(*bureau.ledger.dispatch("w", 1)[0][1:], "w")
    assert again is not None
    assemble_batch(bureau, again, who="w")
    [first, second] = bureau.ledger.pages_of_batch(batch_id)
    assert first.document_id == second.document_id is not None


def test_a_sentence_about_many_doubts_names_three_and_counts_the_rest() -> None:
    refusal = PartingInDoubt([f"{n}.tif: why" for n in range(1, 7)])
    assert "1.tif: why; 2.tif: why; 3.tif: why; and 3 more." in refusal.sentence
    assert "4.tif" not in refusal.sentence
