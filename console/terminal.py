"""The `platen` command. Answers go to stdout, progress and logs to stderr.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but something is held for a person.
"""

from __future__ import annotations

import csv
import getpass
import json
import logging
import os
import re
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from console import answers
from console.alarm_words import alarm_sentence
from console.doctor import examined
from console.history_file import history_csv, history_lines
from console.premis_file import premis_xml
from console.words import shown
from pipeline import logs, people, review, tokens
from pipeline.audit import NoSuchPage, page_at, write_before_and_after
from pipeline.backup import back_up
from pipeline.billing import read_rate_card
from pipeline.bureau import Bureau
from pipeline.convert_files import convert_files, text_of
from pipeline.defects import Defect
from pipeline.film_check import check_film_folder
from pipeline.film_rolls import planned_film
from pipeline.intake import LONGEST_OPERATOR, ticket_for, was_taken
from pipeline.ledger import (
    HeldNoLonger,
    LedgerUnusable,
    NoPassword,
    NoSuchAlarm,
    NoSuchLink,
    NoSuchToken,
    NoSuchUser,
    NotToBeLookedAt,
    OrderNotOpen,
    UnknownOrder,
    UserExists,
)
from pipeline.ledger.lots import Lot, LotPage
from pipeline.model import QUEUES, Hold, Priority, Role, Service
from pipeline.orders import MOST_PAGES, BadOrder, is_name, open_order
from pipeline.orphans import DAY_S, sweep
from pipeline.package_files import NotInPackage, PackageDamaged
from pipeline.package_links import MOST_DAYS, USUAL_DAYS, BadLink, link_address, make_link
from pipeline.packaging import write_sheet_pdf
from pipeline.profile import BadProfile, Profile, load_profile, load_profiles
from pipeline.quality_control import CannotLook, say_defect, say_good
from pipeline.rescan_sheets import write_rescan_sheets
from pipeline.settings import EMBEDDED, Settings
from pipeline.statement import ChargedDelivery, deliveries_of_month
from pipeline.tasks import do_task
from pipeline.uploads import sweep_uploads
from pipeline.verification import verify
from stages.errors import Refusal
from stages.sheets import Ticket
from workers.shift import HEARTBEAT_S, STOP_TIMEOUT_MS
from workers.signals import told_to_stop

HELD_EXIT = 3
LOCAL_HOST = "127.0.0.1"  # whoever wants the console to be seen from elsewhere says so
CONSOLE_PORT = 8080
MOST_ID = (1 << 63) - 1  # the largest number that the ledger keeps

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The production floor of a document-conversion bureau.",
)
order_app = typer.Typer(no_args_is_help=True, help="Work orders.")
held_app = typer.Typer(no_args_is_help=True, help="What waits for a person.")
alarms_app = typer.Typer(no_args_is_help=True, help="What is the matter at the scanners.")
page_app = typer.Typer(no_args_is_help=True, help="Single pages.")
qc_app = typer.Typer(no_args_is_help=True, help="Quality control.")
film_app = typer.Typer(no_args_is_help=True, help="Microfilm.")
profiles_app = typer.Typer(no_args_is_help=True, help="Kinds of work.")
token_app = typer.Typer(no_args_is_help=True, help="How programs come in: tokens for the REST API.")
user_app = typer.Typer(no_args_is_help=True, help="Who may sign in to the web console.")
link_app = typer.Typer(no_args_is_help=True, help="Links by which an agency gets a package without signing in.")
bill_app = typer.Typer(no_args_is_help=True, help="What was charged.")
app.add_typer(order_app, name="order")
app.add_typer(held_app, name="held")
app.add_typer(alarms_app, name="alarms")
app.add_typer(page_app, name="page")
app.add_typer(qc_app, name="qc")
app.add_typer(film_app, name="film")
app.add_typer(profiles_app, name="profiles")
app.add_typer(bill_app, name="bill")
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")
app.add_typer(link_app, name="link")

# a pipe or a file has no width of its own; 80 columns would break every table
PIPE_WIDTH = None if sys.stdout.isatty() else 160
out = Console(soft_wrap=True, highlight=False, width=PIPE_WIDTH)
err = Console(stderr=True, highlight=False)


def _no_empty_why(why: str) -> str:
    if not why.strip():
        raise typer.BadParameter("say why; whoever reads the records later has only this")
    return why


Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one of this machine.")]
Why = Annotated[str, typer.Option("--why", help="The reason; it is kept with your name.", callback=_no_empty_why)]
Month = Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="Month (UTC) in which packages went out.")]


def main() -> None:
    """Run the command; what a person can mend is told in a sentence, without a traceback."""
    try:
        app()
    except (
        LedgerUnusable, UnknownOrder, OrderNotOpen, HeldNoLonger, BadProfile, Refusal, NoSuchPage, review.CannotDecide,
        NoSuchUser, NoSuchToken, NoSuchLink, NoSuchAlarm, NoPassword, UserExists, CannotLook, NotToBeLookedAt,
        PackageDamaged,
        OSError,
    ) as error:  # fmt: skip
        err.print(f"[red]platen:[/] {_plain(error)}", markup=True)
        sys.exit(1)
    except UnicodeEncodeError:
        err.print("[red]platen:[/] what was typed is no text in UTF-8")
        sys.exit(2)
    except ValidationError as error:
        for fault in error.errors():
            name = "PLATEN_" + "_".join(str(part) for part in fault["loc"]).upper()
            err.print(f"[red]platen:[/] {name}: {fault['msg']}")
        sys.exit(2)


@app.callback()
def _begin(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is done.")] = False) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logs.set_up(as_json=Settings().log_format == "json", level=level)
    logging.getLogger("dramatiq").setLevel(logging.ERROR if not verbose else logging.INFO)


@app.command()
def init() -> None:
    """Make the home and the ledger, or bring an older ledger to this version."""
    settings = Settings()
    Bureau.init(settings).close()
    out.print(f"The bureau's home is {settings.home}")


@app.command()
def doctor(
    settings: Annotated[bool, typer.Option("--settings", help="List all settings with their values.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what is installed, which versions, what is missing and how to get it."""
    if settings:
        now = Settings()
        rows = {
            f"PLATEN_{name.upper()}": {"value": str(getattr(now, name)), "meaning": field.description}
            for name, field in Settings.model_fields.items()
        }
        if as_json:
            _print_json(rows)
        else:
            _print_table(
                ("Setting", "Value", "Meaning"), [(k, v["value"] or "", v["meaning"] or "") for k, v in rows.items()]
            )
        return
    findings = examined(Settings())
    if as_json:
        _print_json([finding.as_json() for finding in findings])
    else:
        rows_ = [(f.name, f.version or "missing", f.remedy if f.missing else f.why) for f in findings]
        _print_table(("What", "Version", ""), rows_)
    if any(finding.missing and finding.needed for finding in findings):
        raise typer.Exit(1)


@app.command()
def convert(
    paths: Annotated[list[Path], typer.Argument(metavar="IN... OUT.pdf", help="Files or folders, then the PDF.")],
    profile: Annotated[str, typer.Option(help="Name of a profile, or a TOML file.")] = "records-bitonal",
    text: Annotated[Path | None, typer.Option(help="Also write what was read.")] = None,
    images: Annotated[Path | None, typer.Option(help="Also write every page as it goes into the PDF.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Pages at the same time.")] = None,
    as_json: Json = False,
) -> None:
    """Make one PDF/A from files, without an order: for trying, scripting and comparing."""
    if len(paths) < 2 or paths[-1].suffix.lower() != ".pdf":
        raise typer.BadParameter("name at least one file to read and, last, the PDF to write")
    settings = Settings()
    with _progress("pages") as (progress, bar):
        converted = convert_files(
            paths[:-1],
            paths[-1],
            _named_profile(settings, profile),
            settings,
            jobs=jobs or settings.workers,
            images=images,
            on_start=lambda pages: progress.update(bar, total=pages),
            on_page=lambda: progress.advance(bar),
        )
    if text is not None:
        text.write_text(text_of(converted), encoding="utf-8")
    if as_json:
        _print_json(answers.converted_answer(converted))
    else:
        if converted.pdf is not None:
            out.print(f"{converted.pdf}: {len(converted.pages)} pages, PDF/A-{converted.flavour}")
        for held in converted.held:
            err.print(shown(f"Held: {held.file}, page {held.page_number}: {held.sentence}"), markup=False)
    if converted.held:
        raise typer.Exit(HELD_EXIT)


@order_app.command("open")
def order_open(
    customer: Annotated[str, typer.Option(help="Customer account code.")],
    profile: Annotated[str, typer.Option(help="Name of a profile.")],
    number: Annotated[str | None, typer.Option(help="Order number; without it the next of the year.")] = None,
    service: Annotated[list[Service] | None, typer.Option(help="imaging (default), film; may be given twice.")] = None,
    priority: Annotated[Priority, typer.Option()] = Priority.NORMAL,
    due: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
    expect_pages: Annotated[int | None, typer.Option(min=0, max=MOST_PAGES)] = None,
    series: Annotated[str, typer.Option(help="Records series.")] = "",
    title: Annotated[str, typer.Option()] = "",
    box: Annotated[list[str] | None, typer.Option(help="Box barcode; may be given often.")] = None,
    as_json: Json = False,
) -> None:
    """Open a work order."""
    with _bureau() as bureau:
        try:
            order = open_order(
                bureau,
                customer=customer,
                profile=profile,
                services=service or [],
                priority=priority,
                who=_who(),
                number=number,
                title=title,
                series=series,
                due=None if due is None else date(due.year, due.month, due.day),
                expect_pages=expect_pages,
                boxes=tuple(box or ()),
            )
        except BadOrder as error:
            raise typer.BadParameter(str(error)) from error
        if as_json:
            _print_json(answers.order_line(order))
        else:
            out.print(f"{order.number}: drop batches into {bureau.settings.folder('inbox') / order.number}")


@order_app.command("list")
def order_list(as_json: Json = False) -> None:
    """All work orders, newest first."""
    with _bureau() as bureau:
        orders = [answers.order_line(order) for order in bureau.ledger.orders()]
    _print_lines(("number", "customer", "profile", "status", "priority", "due"), orders, as_json)


@order_app.command("show")
def order_show(number: str, as_json: Json = False) -> None:
    """An order with its pages, batches, documents, rolls and charges."""
    with _bureau() as bureau:
        answer = _order_answer(bureau, number)
    if as_json:
        _print_json(answer)
    else:
        _print_order(answer)


@order_app.command("close")
def order_close(number: str, as_json: Json = False) -> None:
    """Take no more batches; what is left is finished, filmed and packaged."""
    with _bureau() as bureau:
        order = bureau.ledger.close_order(number, who=_who())
        if as_json:
            _print_json(answers.order_line(order))
        else:
            out.print(f"{number} is closed. What is left is finished while `platen run` or `platen up` runs.")


@order_app.command("reopen")
def order_reopen(number: str, as_json: Json = False) -> None:
    """Take batches again; what was delivered stays delivered."""
    with _bureau() as bureau:
        order = bureau.ledger.reopen_order(number, who=_who())
        if as_json:
            _print_json(answers.order_line(order))
        else:
            out.print(f"{number} is open.")


@order_app.command("history")
def order_history(
    number: Annotated[str, typer.Argument(metavar="N")],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write it as CSV, with hashes.")
    ] = None,
    premis_file: Annotated[Path | None, typer.Option("--premis", metavar="FILE", help="Write it as PREMIS.")] = None,
    as_json: Json = False,
) -> None:
    """Everything that was done for an order, and by whom, oldest first."""
    with _bureau() as bureau:
        order = bureau.ledger.order(number)
        if order is None:
            raise UnknownOrder(number)
        if csv_file is not None:
            _write_whole(csv_file, history_csv(bureau.ledger, order.id))
        if premis_file is not None:
            _write_whole(premis_file, premis_xml(bureau.ledger, order))
        if csv_file is not None or premis_file is not None:
            return
        lines = [answers.history_line(line) for line in history_lines(bureau.ledger, order.id)]
    _print_lines(("line", "at", "subject", "kind", "who", "outcome"), lines, as_json)


@app.command()
def ticket(
    number: Annotated[str, typer.Argument(metavar="N")],
    out_pdf: Annotated[Path, typer.Argument(metavar="OUT.pdf")],
    box: Annotated[str | None, typer.Option(help="Box barcode to print on the ticket.")] = None,
    separators: Annotated[int, typer.Option(min=0, help="Separator sheets to print behind it.")] = 1,
) -> None:
    """Print a batch ticket and separator sheets."""
    with _bureau() as bureau:
        order = bureau.ledger.order(number)
        if order is None:
            raise UnknownOrder(number)
        try:
            Ticket(order.number, box or "").payload  # noqa: B018 - it tells what cannot be printed
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        write_sheet_pdf(out_pdf, ticket_for(order, box, bureau.settings.bureau_name), separators, order)
        out.print(f"{out_pdf}: batch ticket and {separators} separator sheets", markup=False)


@app.command()
def intake(
    path: Path,
    order: Annotated[str, typer.Option(help="Work order number.")],
    operator: Annotated[str, typer.Option(help="Who scanned it; somebody else must look at it.")] = "",
    as_json: Json = False,
) -> None:
    """Take a folder or a file in by hand; it stays where it is."""
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {path}")
    if len(operator) > LONGEST_OPERATOR or not operator.isprintable():
        raise typer.BadParameter(f"operator: a name of at most {LONGEST_OPERATOR} printable characters")
    with _bureau() as bureau:
        if bureau.ledger.order(order) is None:
            raise UnknownOrder(order)
        delivery_id, task_id = bureau.ledger.announce_delivery(
            source=str(path.resolve()),
            name=path.resolve().name,
            order_number=order,
            moves=False,
            who=_who(),
            operator=operator.strip(),
        )
        with _as_worker(bureau) as owner:
            task = bureau.ledger.claim_at_once(task_id, owner)
            if task is not None:
                do_task(bureau, task, owner=owner)
        batch_id = bureau.ledger.batch_of_delivery(delivery_id)
        if batch_id is None:
            hold = bureau.ledger.hold_of(task_id)
            outcome = bureau.ledger.delivery_outcome(delivery_id)
            if hold is None and was_taken(outcome):
                if as_json:
                    _print_json({"order": order, "batch": None, "digest": None, "pages": 1})
                else:
                    out.print(f"{order}: {path.name} takes the place of the page that waited for it", markup=False)
                return
            later = "It could not be received yet; it is tried again while `platen run` or `platen up` runs."
            err.print(hold.sentence if hold else outcome or later, markup=False)
            raise typer.Exit(HELD_EXIT if hold else 1)
        batch = bureau.ledger.batch(batch_id)
        pages = len(bureau.ledger.pages_of_batch(batch_id))
        if as_json:
            _print_json({"order": order, "batch": batch.name, "digest": batch.digest, "pages": pages})
        else:
            out.print(f"{order}: batch {batch.name} with {pages} pages", markup=False)


@app.command()
def run(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when nothing is left to do.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Pages at the same time.")] = None,
) -> None:
    """Watch the inbox and work, here."""
    from workers.floor import run_floor  # here and below: loading it connects this process to the broker

    with _bureau() as bureau:
        bureau.check_languages()
        with _progress("pages") as (progress, bar):

            def show() -> None:
                done, all_pages = bureau.ledger.pages_done()
                progress.update(bar, completed=done, total=all_pages)

            run_floor(bureau, workers=workers or bureau.settings.workers, until_idle=until_idle, on_tick=show)
        held = bureau.ledger.held()
    if held:
        err.print(f"{held} held for a person. See: platen held list")
        raise typer.Exit(HELD_EXIT)


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the console.")] = CONSOLE_PORT,
    host: Host = LOCAL_HOST,
    workers: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Watch the inbox, work, and serve the web console, until stopped."""
    from console.web import serving  # here and below: no other command needs a web server
    from workers.floor import run_floor

    with _bureau() as bureau:
        bureau.check_languages()
        with serving(bureau, host=host, port=port):
            _greet(bureau, host, port)
            run_floor(bureau, workers=workers or bureau.settings.workers, until_idle=False)


@app.command("console")
def serve_console(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the console.")] = CONSOLE_PORT,
    host: Host = LOCAL_HOST,
) -> None:
    """Only serve the web console; workers elsewhere do the work."""
    from console.web import serving

    with _bureau() as bureau, told_to_stop() as stop, serving(bureau, host=host, port=port):
        _greet(bureau, host, port)
        stop.wait()


@app.command()
def watch() -> None:
    """Only watch the inbox; workers elsewhere do what is found."""
    from workers.floor import run_watcher

    with _bureau() as bureau:
        run_watcher(bureau)


@app.command()
def feed() -> None:
    """Only feed the shared broker (Redis, RabbitMQ). Several may run; one leads."""
    from workers.floor import run_feeder

    if Settings().broker_url == EMBEDDED:
        raise typer.BadParameter("PLATEN_BROKER_URL is embedded: every worker feeds itself")
    with _bureau() as bureau:
        run_feeder(bureau)


@app.command()
def worker(
    workers: Annotated[int | None, typer.Option(min=1, help="Pages at the same time.")] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Only this queue: pages, documents.")] = None,
) -> None:
    """Only work, under Dramatiq's own command; start as many as there are machines."""
    for name in queue or []:
        if name not in QUEUES:
            raise typer.BadParameter(f"there is no queue {name}; there are {', '.join(QUEUES)}")
    program = str(Path(sys.executable).with_name("dramatiq"))
    arguments = [
        program, "workers.actors", "--processes", "1", "--threads", str(workers or Settings().workers),
        "--worker-shutdown-timeout", str(STOP_TIMEOUT_MS), "--skip-logging", "--queues", *(queue or QUEUES),
    ]  # fmt: skip
    os.execv(program, arguments)


@app.command()
def status(as_json: Json = False) -> None:
    """Queues by kind, pages a minute, backlog, expected finish by order."""
    with _bureau() as bureau:
        answer = answers.floor_answer(bureau.ledger.floor())
    if as_json:
        _print_json(answer)
        return
    kinds = answer["kinds"]
    _print_table(
        ("kind", "due", "running", "done", "held"),
        [(kind, *(str(states[name]) for name in ("due", "running", "done", "held"))) for kind, states in kinds.items()],
    )
    speed = answer["pages_per_minute"]
    out.print(f"pages a minute: {speed['1m']} (1 min), {speed['5m']} (5 min), {speed['60m']} (60 min)")
    if answer["orders"]:
        columns = ("number", "remaining", "held", "earliest_finish", "expected_finish")
        rows = [["" if order[name] is None else str(order[name]) for name in columns] for order in answer["orders"]]
        _print_table(columns, rows)


@page_app.command("show")
def page_show(
    order: Annotated[str, typer.Argument(metavar="ORDER")],
    batch: Annotated[str, typer.Argument(metavar="BATCH")],
    number: Annotated[int, typer.Argument(metavar="PAGE", min=1, max=MOST_ID, help="Its place in the batch, from 1.")],
    picture: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw scan, delivered page and what changed, side by side.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One page: what it came as, what was measured on it and done to it."""
    with _bureau() as bureau:
        page = page_at(bureau, order, batch, number)
        if picture is not None:
            write_before_and_after(bureau, page, picture)
        answer = answers.page_answer(bureau, page)
    if as_json:
        _print_json(answer)
        return
    for name in ("file", "image_in_file", "scan", "delivered", "excluded"):
        if answer[name] is not None:
            out.print(f"{name.replace('_', ' ')}: {answer[name]}", markup=False)
    _print_table(("reading", "value"), [[name, str(value)] for name, value in sorted(answer["readings"].items())])


@held_app.command("list")
def held_list(as_json: Json = False) -> None:
    """Everything that waits for a person."""
    with _bureau() as bureau:
        holds = [answers.hold_line(hold) for hold in bureau.ledger.holds()]
    if as_json:
        _print_json(holds)
        return
    for hold in holds:
        _print_hold(hold)
    if not holds:
        out.print("Nothing is held.")


@held_app.command("show")
def held_show(hold_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)], as_json: Json = False) -> None:
    """One held thing with what was measured on it."""
    with _bureau() as bureau:
        hold = review.hold_with_id(bureau, hold_id)
        answer = answers.hold_answer(bureau, hold)
    if as_json:
        _print_json(answer)
    else:
        _print_hold(answer)
        for name in ("scan", "image_in_file"):
            if name in answer:
                out.print(f"    {name.replace('_', ' ')}: {answer[name]}", markup=False)


@held_app.command("release")
def held_release(
    hold_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)], why: Why, as_json: Json = False
) -> None:
    """Go on as it is, in spite of the refusal."""
    with _decision(hold_id, "released", as_json) as (bureau, hold):
        review.release(bureau, hold, who=_who(), why=why)


@held_app.command("retry")
def held_retry(
    hold_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)], why: Why, as_json: Json = False
) -> None:
    """Do the same again."""
    with _decision(hold_id, "due again", as_json) as (bureau, hold):
        review.retry(bureau, hold, who=_who(), why=why)


@held_app.command("waive")
def held_waive(
    hold_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)], why: Why, as_json: Json = False
) -> None:
    """Do without the page (or the repeated delivery); it is not billed."""
    with _decision(hold_id, "waived", as_json) as (bureau, hold):
        review.waive(bureau, hold, who=_who(), why=why)


@held_app.command("rescan")
def held_rescan(
    hold_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)],
    why: Why,
    scan: Annotated[Path | None, typer.Option(help="The new scan; without it the page waits for one.")] = None,
    as_json: Json = False,
) -> None:
    """Put a new scan in the place of the held page, or let the page wait for one."""
    if scan is None:
        with _bureau() as bureau:
            sentence = review.ask_for_rescan(bureau, review.hold_with_id(bureau, hold_id), who=_who(), why=why)
        if as_json:
            _print_json({"id": hold_id, "outcome": "awaiting-rescan", "sentence": sentence})
        else:
            out.print(f"{hold_id}: {sentence}", markup=False)
            out.print(f"Its sheet: platen held rescan-sheet {hold_id} OUT.pdf", markup=False)
        return
    if not scan.is_file():
        raise FileNotFoundError(f"There is no file {scan}")
    with _decision(hold_id, "replaced by the rescan", as_json) as (bureau, hold):
        review.rescan(bureau, hold, scan, who=_who(), why=why)


@qc_app.command("list")
def qc_list(
    order: Annotated[str | None, typer.Option(help="Of one order, also what has passed.")] = None,
    as_json: Json = False,
) -> None:
    """Batches under quality control, and what they wait for."""
    with _bureau() as bureau:
        found = bureau.ledger.lots_under_way(limit=None) if order is None else bureau.ledger.lots_of(order)
    lots = [answers.lot_line(lot) for lot in found]
    _print_lines(("lot", "order", "batch", "state", "pages", "sample", "looked", "awaited"), lots, as_json)


@qc_app.command("show")
def qc_show(number: Annotated[int, typer.Argument(metavar="LOT", min=1, max=MOST_ID)], as_json: Json = False) -> None:
    """One batch under quality control: plan, seed, and the pages that are looked at."""
    with _bureau() as bureau:
        lot = _lot(bureau, number)
        answer = answers.lot_answer(lot, bureau.ledger.lot_pages(lot.id, limit=None))
    if as_json:
        _print_json(answer)
        return
    for name in ("order", "batch", "state", "plan", "sample", "pages", "accept", "seed", "scanned_by", "awaited"):
        out.print(f"{name.replace('_', ' ')}: {shown(str(answer[name] or '–'))}", markup=False)
    columns = ("page_number", "file", "verdict", "defect")
    _print_table(columns, [[str(page[name] or "") for name in columns] for page in answer["looked_at"]])


@qc_app.command("good")
def qc_good(
    number: Annotated[int, typer.Argument(metavar="LOT", min=1, max=MOST_ID)],
    page_number: Annotated[int, typer.Argument(metavar="PAGE", min=1, max=MOST_ID)],
    as_json: Json = False,
) -> None:
    """Say that a page you looked at is good."""
    with _bureau() as bureau:
        lot, page = _page_of_lot(bureau, number, page_number)
        say_good(bureau, lot, page, who=_who())
        _tell_lot(bureau, lot, as_json)


@qc_app.command("defect")
def qc_defect(
    number: Annotated[int, typer.Argument(metavar="LOT", min=1, max=MOST_ID)],
    page_number: Annotated[int, typer.Argument(metavar="PAGE", min=1, max=MOST_ID)],
    code: Annotated[Defect, typer.Argument(metavar="CODE")],
    note: Annotated[str, typer.Option(help="Kept with the defect and your name.")] = "",
    as_json: Json = False,
) -> None:
    """Say which defect a page has that you looked at."""
    with _bureau() as bureau:
        lot, page = _page_of_lot(bureau, number, page_number)
        say_defect(bureau, lot, page, code, note=shown(note), who=_who())
        _tell_lot(bureau, lot, as_json)


@qc_app.command("figures")
def qc_figures(
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Of orders opened in so many days.")] = 90,
    as_json: Json = False,
) -> None:
    """First-pass yield, defects in 10,000, and rescans by reason."""
    with _bureau() as bureau:
        answer = answers.quality_answer(bureau.ledger.quality_figures(datetime.now(UTC) - timedelta(days=days)))
    if as_json:
        _print_json(answer)
        return
    columns = ("name", "batches", "rejected", "looked", "first_pass_yield", "rescan_rate", "defects_per_10_000")
    for title in ("orders", "scanners", "profiles"):
        rows = [[_figure(line[name]) for name in columns] for line in (*answer[title], answer["total"])]
        _print_table((title, *columns[1:]), rows)
    _print_table(("scanned again", "pages"), [(reason, str(pages)) for reason, pages in answer["rescans"].items()])
    out.print(f"of {answer['received']} pages received")


@held_app.command("rescan-sheet")
def held_rescan_sheet(
    ids: Annotated[list[str], typer.Argument(metavar="ID... OUT.pdf", help="Numbers of held pages, then the PDF.")],
    why: Annotated[
        str, typer.Option("--why", help="Ask for the rescans with this reason; without it they wait for one already.")
    ] = "",
) -> None:
    """Print a sheet for each held page, to be scanned in front of its paper."""
    *numbers, target = ids
    if not numbers or not target.lower().endswith(".pdf") or not all(_is_id(number) for number in numbers):
        raise typer.BadParameter("name at least one number of platen held list and, last, the PDF to write")
    with _bureau() as bureau:
        holds = [review.hold_with_id(bureau, int(number)) for number in dict.fromkeys(numbers)]
        if why.strip():
            for hold in holds:
                review.ask_for_rescan(bureau, hold, who=_who(), why=why)
            holds = [review.hold_with_id(bureau, hold.id) for hold in holds]
        write_rescan_sheets(bureau, holds, Path(target))
        out.print(f"{target}: {len(holds)} rescan sheets", markup=False)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < len(str(MOST_ID))


@alarms_app.command("list")
def alarms_list(
    seen: Annotated[bool, typer.Option("--seen", help="Those that were seen, or went by, instead.")] = False,
    as_json: Json = False,
) -> None:
    """Alarms about scans that nobody has seen, by scanner."""
    with _bureau() as bureau:
        alarms = bureau.ledger.seen_alarms() if seen else bureau.ledger.open_alarms()
    if as_json:
        _print_json([answers.alarm_line(alarm) for alarm in alarms])
        return
    for alarm in alarms:
        out.print(f"{alarm.id}  {shown(alarm_sentence(alarm))}", markup=False)
        for page in alarm.newest:
            out.print(shown(f"    {page.order}, {page.batch}, page {page.number}: {page.what}"), markup=False)
        if alarm.seen_at is not None:
            out.print(shown(f"    {alarm.seen_by}: {alarm.said}"), markup=False)
    if not alarms:
        out.print("No alarm was seen yet." if seen else "No alarm is open.")


@alarms_app.command("seen")
def alarms_seen(
    alarm_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)],
    said: Annotated[
        str, typer.Option(help="What you found or did; it is kept with your name.", callback=_no_empty_why)
    ],
    as_json: Json = False,
) -> None:
    """Say that an alarm has been seen to; pages that are dropped from now on raise a new one."""
    with _bureau() as bureau:
        bureau.ledger.note_seen(alarm_id, who=_who(), said=said)
    if as_json:
        _print_json({"id": alarm_id, "outcome": "seen"})
    else:
        out.print(f"{alarm_id}: seen")


@film_app.command("plan")
def film_plan(number: Annotated[str, typer.Argument(metavar="N")], as_json: Json = False) -> None:
    """How an order's documents would lie on rolls."""
    with _bureau() as bureau:
        order = bureau.ledger.order(number)
        if order is None:
            raise UnknownOrder(number)
        counts = bureau.ledger.order_counts(order.id)
        if waiting := counts.held + counts.open:
            err.print(
                f"{waiting} pages of {number} are held or still worked on; a roll is planned from finished pages."
            )
            raise typer.Exit(1)
        rows = [
            {
                "roll": plan.index,
                "frames": len(plan.frames),
                "pages": len(plan.page_frames),
                "documents": len(plan.spans),
                "length_mm": round(plan.length_mm, 1),
                "capacity_frames": plan.capacity_frames,
            }
            for plan in planned_film(bureau, order)
        ]
    if as_json:
        _print_json(rows)
    else:
        names = ("roll", "frames", "pages", "documents", "length_mm", "capacity_frames")
        _print_table(names, [[str(row[name]) for name in names] for row in rows])


@film_app.command("check")
def film_check(folder: Annotated[Path, typer.Argument(metavar="DIR")], as_json: Json = False) -> None:
    """Check a film folder: every frame, every table, every digest."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}")
    report = check_film_folder(folder)
    if as_json:
        _print_json(
            {
                "good": report.good,
                "rolls": report.rolls,
                "frames": report.frames,
                "pages": report.pages,
                "documents": report.documents,
                "problems": list(report.problems),
            }
        )
    else:
        for problem in report.problems:
            out.print(problem, markup=False)
        word = "good" if report.good else "NOT good"
        out.print(f"{folder}: {report.rolls} rolls, {report.frames} frames: {word}", markup=False)
    if not report.good:
        raise typer.Exit(1)


@profiles_app.command("list")
def profiles_list(as_json: Json = False) -> None:
    """The profiles of this installation."""
    profiles = load_profiles(Settings().profiles)
    rows = [
        {"name": p.name, "title": p.title, "flavour": p.pdfa.flavour, "digest": p.digest} for p in profiles.values()
    ]
    if as_json:
        _print_json(rows)
    else:
        _print_table(("name", "title", "flavour"), [(r["name"], r["title"], r["flavour"]) for r in rows])


@profiles_app.command("show")
def profiles_show(name: str, as_json: Json = False) -> None:
    """One profile with every setting, defaults included."""
    profile = _named_profile(Settings(), name)
    answer = {
        "name": profile.name,
        "title": profile.title,
        "digest": profile.digest,
        "read": profile.read.model_dump(mode="json"),
        "page": [{"stage": c.name, **c.settings.model_dump(mode="json")} for c in profile.page],
        "recognize": [{"stage": c.name, **c.settings.model_dump(mode="json")} for c in profile.recognize],
        **{
            table: getattr(profile, table).model_dump(mode="json")
            for table in ("documents", "delivery", "pdfa", "package", "film", "quality", "qc", "billing")
        },
    }
    if as_json:
        _print_json(answer)
    else:
        out.print(json.dumps(answer, indent=2, ensure_ascii=False), markup=False)


@profiles_app.command("check")
def profiles_check() -> None:
    """Check all profiles and rate cards."""
    folder = Settings().profiles
    profiles = load_profiles(folder)
    cards = {path.stem: path for path in sorted((folder / "rates").glob("*.toml"))}
    for profile in profiles.values():
        name = profile.billing.rate_card
        cards.setdefault(name, folder / "rates" / f"{name}.toml")  # one that is named must be there
    for path in cards.values():
        read_rate_card(path)
    out.print(f"{len(profiles)} profiles are good: {', '.join(profiles)}")
    out.print(f"{len(cards)} rate cards are good: {', '.join(cards)}")


@bill_app.command("worksheet")
def bill_worksheet(month: Month, as_json: Json = False) -> None:
    """How the pages of every order delivered in a month were counted."""
    rows = [answers.worksheet_line(one) for one in _deliveries(month)]
    if as_json:
        _print_json(rows)
        return
    reasons = ("separator", "blank", "rescan", "waived")
    _print_table(
        ("customer", "order", "delivery", "date", "received", "billable", *reasons, "amount"),
        [
            (
                row["customer"], row["order"], str(row["delivery"]), row["delivered_on"],
                str(row["pages"]["received"]), str(row["pages"]["billable"]),
                *(str(row["pages"]["excluded"][reason]) for reason in reasons), row["amount"],
            )
            for row in rows
        ],
    )  # fmt: skip


@bill_app.command("statement")
def bill_statement(month: Month, as_json: Json = False) -> None:
    """What every customer is charged for a month."""
    statements = answers.statements(_deliveries(month))
    if as_json:
        _print_json(statements)
        return
    for statement in statements:
        out.print(f"{statement['customer']}, {month}", markup=False)
        columns = ("order", "delivery", "fee_code", "title", "quantity", "unit_price", "amount")
        _print_table(columns, [[str(line[name]) for name in columns] for line in statement["lines"]])
        out.print(f"total {statement['amount']}\n", markup=False)
    if not statements:
        out.print(f"Nothing was delivered in {month}.")


@bill_app.command("export")
def bill_export(month: Month, as_json: Json = False) -> None:
    """Every charge of a month as CSV on stdout (or as JSON), for the accounts."""
    lines = [line for statement in answers.statements(_deliveries(month)) for line in statement["lines"]]
    if as_json:
        _print_json(lines)
        return
    columns = ("customer", "order", "delivery", "delivered_on", "fee_code", "title", "quantity", "unit_price", "amount")
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\r\n")  # RFC 4180
    writer.writeheader()
    writer.writerows(lines)


@bill_app.command("close-month")
def bill_close_month(month: Month) -> None:
    """Not built yet: charges are fixed when a package goes out, so a month is final once it is over."""
    _first_of(month)
    err.print("Closing a month is not built yet. Charges are fixed when a package goes out: see platen bill statement.")
    raise typer.Exit(1)


@app.command("verify")
def verify_all(as_json: Json = False) -> None:
    """Count and hash everything again: the ledger against itself, the store, packages and film."""
    with _bureau() as bureau:
        verified = verify(bureau)
    if as_json:
        _print_json(answers.verified_answer(verified))
    else:
        for sentence in (*verified.told, *verified.faults):
            out.print(shown(sentence), markup=False)
        out.print(
            f"{verified.orders} orders, {verified.pages} pages, {verified.files} files, {verified.packages} packages: "
            f"{len(verified.faults) or 'no'} faults"
        )
    if verified.faults:
        raise typer.Exit(1)


@app.command("backup")
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="On another disk; an earlier backup gets what is new.")],
    as_json: Json = False,
) -> None:
    """Copy ledger, store, packages and films, while the floor works. The copy is a home of its own."""
    with _bureau() as bureau:
        try:
            backed_up = back_up(bureau, folder)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if as_json:
        _print_json(answers.backed_up_answer(backed_up))
    else:
        for fault in backed_up.faults:
            out.print(shown(fault), markup=False)
        out.print(
            f"{backed_up.ledger}: new are {backed_up.files} files ({backed_up.size_bytes} bytes) and "
            f"{backed_up.folders} folders of packages and films",
            markup=False,
        )
    if backed_up.faults:
        raise typer.Exit(1)


@app.command("sweep")
def sweep_store(
    older_than: Annotated[float, typer.Option("--older-than", metavar="DAYS", min=1, help="Only what is as old.")],
    as_json: Json = False,
) -> None:
    """Remove files of the store that no record refers to, what killed writers left, and uploads given up long ago."""
    with _bureau() as bureau:
        swept = sweep(bureau, older_than_s=older_than * DAY_S)
        sweep_uploads(bureau)
    if as_json:
        _print_json({"files": swept.files, "bytes": swept.size_bytes})
    else:
        out.print(f"{swept.files} files removed, {swept.size_bytes} bytes")


@user_app.command("add")
def user_add(
    name: str,
    role: Annotated[Role, typer.Option()],
    customer: Annotated[str | None, typer.Option(help="The only account that an agency's user sees.")] = None,
    as_json: Json = False,
) -> None:
    """Let somebody sign in; the password that is told works once."""
    if not is_name(name):
        raise typer.BadParameter(f"name: a letter or digit, then letters, digits, '.', '_' and '-', is {name!r}")
    if (role is Role.AGENCY) != (customer is not None):
        raise typer.BadParameter("an agency's user has a customer, and no other has one")
    with _bureau() as bureau:
        _tell_password(name, people.add_user(bureau, name, None, role, customer=customer, who=_who())[1], as_json)


@user_app.command("list")
def user_list(as_json: Json = False) -> None:
    """Everybody who may or might sign in."""
    with _bureau() as bureau:
        users = [answers.user_line(user) for user in bureau.ledger.users()]
    _print_lines(("name", "role", "customer", "disabled", "issuer"), users, as_json)


@user_app.command("disable")
def user_disable(name: str) -> None:
    """Let somebody sign in no more, and end what is open."""
    with _bureau() as bureau:
        bureau.ledger.disable_user(name, who=_who())
    out.print(f"{name} is signed out and cannot sign in.", markup=False)


@user_app.command("password")
def user_password(name: str, as_json: Json = False) -> None:
    """Give somebody a new password, which works once, and end what is open."""
    with _bureau() as bureau:
        _tell_password(name, people.set_password(bureau, name, None, who=_who()), as_json)


@token_app.command("add")
def token_add(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose rights it has, and whom the history names.")],
    title: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[int, typer.Option(min=1, max=tokens.MOST_DAYS, help="How long it is good.")] = tokens.DEFAULT_DAYS,
    as_json: Json = False,
) -> None:
    """Make a token of a user; it is told once and kept nowhere."""
    with _bureau() as bureau:
        try:
            token, secret = tokens.give_token(bureau, user, title=title, days=days, who=_who())
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if as_json:
        _print_json({**answers.token_line(token), "token": secret})
    else:
        out.print(f"{secret}\nIt asks as {user} until {token.until:%Y-%m-%d} and is not told again.", markup=False)


@token_app.command("list")
def token_list(as_json: Json = False) -> None:
    """All tokens, also those that are over."""
    with _bureau() as bureau:
        lines = [answers.token_line(token) for token in bureau.ledger.tokens()]
    _print_lines(("id", "user", "role", "customer", "title", "until", "state"), lines, as_json)


@token_app.command("revoke")
def token_revoke(token_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)]) -> None:
    """Let a token open nothing any more, from now on."""
    with _bureau() as bureau:
        bureau.ledger.revoke_token(token_id, who=_who())
    out.print(f"Token {token_id} opens nothing any more.")


@link_app.command("make")
def link_make(
    number: Annotated[str, typer.Argument(metavar="ORDER")],
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="How long it opens the package.")] = USUAL_DAYS,
    delivery: Annotated[int | None, typer.Option(min=1, help="Which package; without it the newest.")] = None,
    file: Annotated[str | None, typer.Option(help="Only this file of it, as data/transmittal.pdf.")] = None,
    why: Annotated[str, typer.Option("--why", help="For whom, and why; it is kept with your name.")] = "",
    as_json: Json = False,
) -> None:
    """Make a link to a package. It is told once: only its digest is kept."""
    with _bureau() as bureau:
        order = bureau.ledger.order(number)
        if order is None:
            raise UnknownOrder(number)
        try:
            link, token = make_link(
                bureau, order, delivery or order.deliveries, file=file, days=days, who=_who(), why=why
            )
        except NotInPackage:
            raise typer.BadParameter(f"there is no such package of {number}, or no such file in it") from None
        except BadLink as error:
            raise typer.BadParameter(str(error)) from error
        address = link_address(bureau.settings.public_url or f"http://{LOCAL_HOST}:{CONSOLE_PORT}", token)
    if as_json:
        _print_json(answers.link_line(link) | {"address": address})
    else:
        out.print(f"Link {link.id} opens until {link.until:%Y-%m-%d %H:%M} UTC:\n{address}", markup=False)


@link_app.command("list")
def link_list(number: Annotated[str, typer.Argument(metavar="ORDER")], as_json: Json = False) -> None:
    """The newest links to an order's packages."""
    with _bureau() as bureau:
        order = bureau.ledger.order(number)
        if order is None:
            raise UnknownOrder(number)
        links = [answers.link_line(link) for link in bureau.ledger.links_of(order.id)]
    _print_lines(("id", "delivery", "file", "made_by", "until", "first_used", "stands"), links, as_json)


@link_app.command("revoke")
def link_revoke(link_id: Annotated[int, typer.Argument(metavar="ID", max=MOST_ID)], why: Why) -> None:
    """Let a link open nothing any more."""
    with _bureau() as bureau:
        bureau.ledger.revoke_link(link_id, who=_who(), why=why)
    out.print(f"Link {link_id} opens nothing any more.")


def _tell_password(name: str, password: str, as_json: bool) -> None:
    if as_json:
        _print_json({"name": name, "password": password})
    else:
        out.print(f"{name} signs in with {password} once and then chooses a password.", markup=False)


def _greet(bureau: Bureau, host: str, port: int) -> None:
    if password := people.first_password(bureau):
        err.print(f"Sign in as {people.FIRST_USER} with {password} once; then choose a password.", markup=False)
    err.print(f"The console: http://{host}:{port}/  Ctrl-C stops.")


@contextmanager
def _bureau() -> Iterator[Bureau]:
    bureau = Bureau.open(Settings())
    try:
        yield bureau
    finally:
        bureau.close()


@contextmanager
def _as_worker(bureau: Bureau) -> Iterator[str]:
    """A name to work under that no floor running beside takes for a dead worker's."""
    owner = f"{_who()[:20]} {uuid.uuid4().hex[:12]}"
    done = threading.Event()

    def live() -> None:
        while not done.wait(HEARTBEAT_S):
            bureau.ledger.heartbeat(owner)

    bureau.ledger.register_worker(owner)
    heart = threading.Thread(target=live, name="heartbeat", daemon=True)
    heart.start()
    try:
        yield owner
    finally:
        done.set()
        heart.join()
        bureau.ledger.give_back(owner)
        bureau.ledger.unregister_worker(owner)


def _write_whole(target: Path, pieces: Iterator[str]) -> None:
    part = target.with_name(f"{target.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces)
    part.replace(target)


def _deliveries(month: str) -> list[ChargedDelivery]:
    first = _first_of(month)
    with _bureau() as bureau:
        return deliveries_of_month(bureau, first.year, first.month)


def _first_of(month: str) -> date:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}", month):
            raise ValueError
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        raise typer.BadParameter(f"write the month as YYYY-MM, is {month!r}") from None


@contextmanager
def _decision(hold_id: int, outcome: str, as_json: bool) -> Iterator[tuple[Bureau, Hold]]:
    with _bureau() as bureau:
        hold = review.hold_with_id(bureau, hold_id)
        yield bureau, hold
        if as_json:
            _print_json({"id": hold_id, "outcome": outcome})
        else:
            out.print(f"{hold_id}: {outcome}")


def _figure(value: object) -> str:
    return "–" if value in (None, "") else f"{value:.3f}" if isinstance(value, float) else str(value)


def _lot(bureau: Bureau, number: int) -> Lot:
    lot = bureau.ledger.lot(number)
    if lot is None:
        raise typer.BadParameter(f"there is no lot {number}. See: platen qc list")
    return lot


def _page_of_lot(bureau: Bureau, number: int, page_number: int) -> tuple[Lot, LotPage]:
    lot = _lot(bureau, number)
    page = bureau.ledger.lot_page_at(lot.id, page_number)
    if page is None:
        raise typer.BadParameter(f"page {page_number} is not among those to be looked at. See: platen qc show {number}")
    return lot, page


def _tell_lot(bureau: Bureau, lot: Lot, as_json: bool) -> None:
    answer = answers.lot_line(_lot(bureau, lot.id))
    if as_json:
        _print_json(answer)
    else:
        waits = f"waits for {answer['awaited']}" if answer["awaited"] else answer["state"]
        out.print(f"{lot.order}, batch {lot.batch}: {waits}", markup=False)


@contextmanager
def _progress(what: str) -> Iterator[tuple[Progress, Any]]:
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=not err.is_terminal, disable=not err.is_terminal) as progress:
        yield progress, progress.add_task(what, total=None)


def _named_profile(settings: Settings, name: str) -> Profile:
    path = Path(name) if name.endswith(".toml") else settings.profiles / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in settings.profiles.glob("*.toml")))
        raise typer.BadParameter(f"there is no profile {name!r}; there are {known}")
    return load_profile(path)


def _order_answer(bureau: Bureau, number: str) -> dict[str, Any]:
    report = bureau.ledger.order_report(number)
    if report is None:
        raise UnknownOrder(number)
    return answers.order_answer(bureau, report)


def _print_order(answer: dict[str, Any]) -> None:
    out.print(
        f"{answer['number']}  {answer['status']}  customer {answer['customer']}  profile {answer['profile']}",
        markup=False,
    )
    rows = [
        (name, pages)
        for name, pages in [("all", answer["pages"]), *((b["name"], b["pages"]) for b in answer["batches"])]
    ]
    columns = ("received", "billable", "held", "open")
    reasons = ("separator", "blank", "rescan", "waived")
    _print_table(
        ("pages", *columns, *reasons),
        [(name, *(str(p[c]) for c in columns), *(str(p["excluded"][r]) for r in reasons)) for name, p in rows],
    )
    if answer["documents"]:
        _print_table(
            ("document", "title", "pages", "PDF/A", "confidence", "pdf"),
            [
                (
                    d["id"],
                    d["title"],
                    str(d["pages"]),
                    d["flavour"] or "",
                    f"{d['mean_confidence'] or 0:.2f}",
                    d["pdf"] or "",
                )
                for d in answer["documents"]
            ],
        )
    for lot in answer["quality"]:
        state = f"waits for {lot['awaited']}" if lot["awaited"] else "passed"
        delivery = "; delivery waits for it" if lot["delivery_waits"] else ""
        out.print(f"quality control of {shown(lot['batch'])} (lot {lot['lot']}): {state}{delivery}", markup=False)
    for roll in answer["rolls"]:
        out.print(
            f"roll {roll['number']}: {roll['frames']} frames, {roll['folder'] or 'not written yet'}", markup=False
        )
    for title, lines in (("charges", answer["charges"]), ("not yet charged", answer["charges_so_far"])):
        if lines:
            _print_table(
                (title, "", "quantity", "price", "amount"),
                [(c["fee_code"], c["title"], c["quantity"], c["unit_price"], c["amount"]) for c in lines],
            )
    if answer["package"]:
        out.print(f"package: {answer['package']}", markup=False)


def _print_hold(hold: dict[str, Any]) -> None:
    place = ", ".join(
        text
        for text in (
            f"page {hold['page_number']}" if hold["page_number"] else "",
            hold["file"] or "",
            f"batch {hold['batch']}" if hold["batch"] else "",
            hold["order"] or "",
        )
        if text
    )
    out.print(f"{hold['id']}  {hold['code']}  {shown(place)}\n    {shown(hold['sentence'])}", markup=False)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_safe(cell) for cell in row))
    out.print(table)


def _print_lines(columns: Sequence[str], lines: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """A list as it is asked for: all that is known of each line as JSON, or some columns of it as a table."""
    if as_json:
        _print_json(lines)
        return
    cells = [[line[name] for name in columns] for line in lines]
    _print_table(columns, [["" if cell is None or cell is False else str(cell) for cell in row] for row in cells])


def _print_json(answer: object) -> None:
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=1) + "\n")


def _safe(text: str) -> str:
    """Text from outside, without what a terminal or the table would take for an instruction."""
    return escape(shown(text))


def _plain(error: Exception) -> str:
    return _safe(str(error))


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


if __name__ == "__main__":
    main()
