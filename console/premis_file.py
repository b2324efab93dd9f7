"""An order's history as a PREMIS 3 document, for archives that keep provenance in its words.

Objects are the order, its batches, documents, pages and rolls, and every PDF/A as a file with its digest. Events are
the lines of the history, agents are those who did them. Source: PREMIS Data Dictionary 3.0 (2015) and its schema,
namespace http://www.loc.gov/premis/v3, which fixes the order of elements that is kept here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape

from console.history_file import LINES_AT_ONCE, history_lines
from pipeline.ledger import Ledger
from pipeline.ledger.history import HistoryLine, Thing
from pipeline.model import WorkOrder
from pipeline.people import is_program

NAMESPACE = "http://www.loc.gov/premis/v3"
KINDS = ("batch", "document", "page", "roll")
# words of id.loc.gov/vocabulary/preservation/eventType, where one of them says what our event does
EVENT_TYPES = {
    "seen": "ingestion start",
    "received": "ingestion",
    "prepared": "normalization",
    "recognized": "metadata extraction",
    "packaged": "creation",
    "roll written": "creation",
    "delivered": "transfer",
    "replaced": "replacement",
    "held": "quality review",
}
_LOCAL, _DIGEST = "local", "SHA-256"
# XML 1.0, 2.2: what no document may hold, escaped or not
_NOT_XML = re.compile("[^\t\n\r\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def premis_xml(ledger: Ledger, order: WorkOrder) -> Iterator[str]:
    """The history of an order as the text of a PREMIS document, piece by piece."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<premis xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="3.0">\n'
    )
    yield _entity(f"order {order.id}", order.number, part_of=None)
    for kind in KINDS:
        for thing in _things(ledger, order, kind):
            yield _entity(thing.subject, thing.name, part_of=thing.part_of, scan=thing.scan)
            if thing.pdf is not None:
                yield _pdf(thing)
    agents: dict[str, None] = {}  # in the order of their first event
    for line in history_lines(ledger, order.id):
        agents.setdefault(line.who)
        yield _event(line, order)
    for who in agents:
        yield _agent(who)
    yield "</premis>\n"


def _things(ledger: Ledger, order: WorkOrder, kind: str) -> Iterator[Thing]:
    after = 0
    while things := ledger.things_of(order.id, kind, after=after, limit=LINES_AT_ONCE):
        yield from things
        after = things[-1].id


def _entity(subject: str, name: str, *, part_of: str | None, scan: str | None = None) -> str:
    kept = _text("significantPropertiesType", "SHA-256 of the scan as received")
    return _object(
        "intellectualEntity",
        _identifier("objectIdentifier", _LOCAL, subject),
        "" if scan is None else _element("significantProperties", kept, _text("significantPropertiesValue", scan)),
        _text("originalName", name),
        "" if part_of is None else _is_part_of(part_of),
    )


def _pdf(document: Thing) -> str:
    digest = str(document.pdf)
    version = "" if document.flavour is None else _text("formatVersion", document.flavour)
    return _object(
        "file",
        _identifier("objectIdentifier", _DIGEST, digest),
        _element(
            "objectCharacteristics",
            _element("fixity", _text("messageDigestAlgorithm", _DIGEST), _text("messageDigest", digest)),
            "" if document.pdf_bytes is None else _text("size", str(document.pdf_bytes)),
            _element("format", _element("formatDesignation", _text("formatName", "PDF/A"), version)),
        ),
        _is_part_of(document.subject),
    )


def _is_part_of(subject: str) -> str:
    return _element(
        "relationship",
        _text("relationshipType", "structural"),
        _text("relationshipSubType", "is part of"),
        _identifier("relatedObjectIdentifier", _LOCAL, subject),
    )


def _event(line: HistoryLine, order: WorkOrder) -> str:
    link = "" if line.number is None else f"line {line.number} of the order's history, SHA-256 of the chain {line.hash}"
    # a delivery is no object: it is its batch that is kept, or nothing
    objects = [line.subject] if line.subject.partition(" ")[0] in KINDS else []
    return _element(
        "event",
        _identifier("eventIdentifier", _LOCAL, f"event {line.id}"),
        _text("eventType", EVENT_TYPES.get(line.kind, line.kind)),
        _text("eventDateTime", line.at.isoformat(timespec="milliseconds")),
        _element("eventDetailInformation", _text("eventDetail", f"{line.subject} {line.kind}: {line.detail}")),
        _element("eventDetailInformation", _text("eventDetail", link)) if link else "",
        _element("eventOutcomeInformation", _text("eventOutcome", line.outcome)),
        _identifier("linkingAgentIdentifier", _LOCAL, line.who),
        *(_identifier("linkingObjectIdentifier", _LOCAL, subject) for subject in (*objects, f"order {order.id}")),
    )


def _agent(who: str) -> str:
    return _element(
        "agent",
        _identifier("agentIdentifier", _LOCAL, who),
        _text("agentName", who),
        _text("agentType", "software" if is_program(who) else "person"),
    )


def _object(kind: str, *content: str) -> str:
    return f'<object xsi:type="{kind}">{"".join(content)}</object>\n'


def _identifier(name: str, kind: str, value: str) -> str:
    return _element(name, _text(f"{name}Type", kind), _text(f"{name}Value", value))


def _element(name: str, *content: str) -> str:
    return f"<{name}>{''.join(content)}</{name}>"


def _text(name: str, text: str) -> str:
    return f"<{name}>{escape(_NOT_XML.sub('�', text))}</{name}>"
