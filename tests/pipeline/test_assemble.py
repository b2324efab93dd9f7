"""What assembly promises: pages lie in the documents where people expect them, and every page is accounted for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.assemble import TooManyHeld, assemble_batch, planned_documents
from pipeline.bureau import Bureau
from pipeline.model import BatchId, Exclusion, OrderId, Page, PageId, Sha256, TaskKind
from pipeline.profile import DocumentRules

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
    readings = {
        "separator": {"separators.separator": True},
        "ticket": {"separators.ticket": "WO-1"},
        "blank": {"blank.verdict": "blank"},
        "maybe": {"blank.verdict": "maybe"},
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


def test_a_fixed_count_of_pages_makes_a_document() -> None:
    pages = _pages(*(f"{n}.tif" for n in range(1, 8)), kinds={2: "blank", 5: "held"})
    rules = DocumentRules(by="count", pages_each=2)
    assert [pages for _, pages in _plan(pages, rules)] == [(1, 3), (4, 5), (6, 7)]


def test_each_file_is_a_document_where_the_profile_says_so() -> None:
    rules = DocumentRules(by="file")
    assert _plan(_pages("a.tif", "b.tif", ("c.pdf", 2)), rules) == [("a", (1,)), ("b", (2,)), ("c", (3, 4))]


def test_documents_of_one_name_are_numbered() -> None:
    rules = DocumentRules(by="file")
    assert [title for title, _ in _plan(_pages("x/a.tif", "y/a.tif", "b.tif"), rules)] == ["a (1)", "a (2)", "b"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a/1.tif", "a/2.tif", "b/1.tif", "3.tif", ("m.tif", 4)]),
            st.sampled_from(["", "separator", "ticket", "blank", "held", "maybe"]),
        ),
        max_size=30,
    ),
    st.sampled_from([FOLDER, DocumentRules(by="file"), DocumentRules(by="count", pages_each=3)]),
)
def test_every_page_is_in_one_document_or_left_out_with_a_reason(
    drawn: list[tuple[str | tuple[str, int], str]], rules: DocumentRules
) -> None:
    pages = _pages(*(file for file, _ in drawn), kinds={n: kind for n, (_, kind) in enumerate(drawn, start=1)})
    documents, exclusions = planned_documents(pages, rules, batch_name="box")
    placed = [page for document in documents for page in document.pages]
    assert sorted([*placed, *exclusions]) == [page.id for page in pages]
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
