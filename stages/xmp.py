"""What a PDF/A says of itself: the XMP packet and the document information, which must agree.

ISO 16684-1 for the packet; ISO 19005-1, 6.7 and 19005-2, 6.6 for what PDF/A asks of it. The bureau's own properties
stand in a namespace of their own, which the packet itself describes (the extension schema that parts 1 to 3 demand).
"""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from typing import Literal, NamedTuple

NAMESPACE = "urn:x-platen:document:1.0:"
PREFIX = "platen"
MAX_TEXT = 2_000  # characters of one value; a PDF string may have 32,767 bytes (ISO 19005-2, 6.1.13), at up to 4 each

_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_PDF = "http://ns.adobe.com/pdf/1.3/"
_PDFAID = "http://www.aiim.org/pdfa/ns/id/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXTENSION = "http://www.aiim.org/pdfa/ns/extension/"
_SCHEMA = "http://www.aiim.org/pdfa/ns/schema#"
_PROPERTY = "http://www.aiim.org/pdfa/ns/property#"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMetadata:
    """What is told of one document; whatever is empty or None is left out.

    `created` carries its time zone; `languages` are tags as in RFC 5646, the first that of the document. People who
    scanned or inspected are named by id, for packages may become public.
    """

    title: str
    created: datetime
    modified: datetime | None = None
    creator: str = ""
    identifier: str = ""
    description: str = ""
    keywords: str = ""
    languages: tuple[str, ...] = ()
    rights: str = ""
    creator_tool: str = "Platen"
    producer: str = "Platen"
    work_order: str = ""
    batch_id: str = ""
    customer_account: str = ""
    document_id: str = ""
    agency_code: str = ""
    agency_name: str = ""
    series_number: str = ""
    series_title: str = ""
    schedule_item: str = ""
    box_barcode: str = ""
    folder_barcode: str = ""
    record_date_start: date | None = None
    record_date_end: date | None = None
    disposition_date: date | None = None
    scan_date: date | datetime | None = None
    scan_operator_id: str = ""
    scanner_id: str = ""
    scan_dpi: int | None = None
    qc_status: str = ""
    qc_date: date | datetime | None = None
    qc_inspector_id: str = ""
    sample_plan: str = ""
    microfilm_roll: str = ""
    microfilm_frame_first: int | None = None
    microfilm_frame_last: int | None = None
    image_address_first: str = ""
    page_count: int | None = None
    source_sha256: tuple[str, ...] = ()
    access_restriction: str = ""


class _Own(NamedTuple):
    field: str
    name: str
    value_type: Literal["Text", "Integer", "Date", "bag Text"]
    category: Literal["external", "internal"]
    description: str


_OWN_PROPERTIES = (
    _Own("work_order", "workOrder", "Text", "external", "Number of the work order"),
    _Own("batch_id", "batchId", "Text", "external", "Batch in which the sheets were delivered"),
    _Own("customer_account", "customerAccount", "Text", "external", "Account of the customer"),
    _Own("document_id", "documentId", "Text", "external", "The document in the bureau's ledger"),
    _Own("agency_code", "agencyCode", "Text", "external", "Code of the agency that owns the record"),
    _Own("agency_name", "agencyName", "Text", "external", "Name of the agency that owns the record"),
    _Own("series_number", "seriesNumber", "Text", "external", "Number of the records series"),
    _Own("series_title", "seriesTitle", "Text", "external", "Title of the records series"),
    _Own("schedule_item", "scheduleItem", "Text", "external", "Item of the retention schedule"),
    _Own("box_barcode", "boxBarcode", "Text", "external", "Barcode of the box"),
    _Own("folder_barcode", "folderBarcode", "Text", "external", "Barcode of the folder"),
    _Own("record_date_start", "recordDateStart", "Date", "external", "First date of the records, not of the scan"),
    _Own("record_date_end", "recordDateEnd", "Date", "external", "Last date of the records, not of the scan"),
    _Own("disposition_date", "dispositionDate", "Date", "external", "Date from which the record may be disposed of"),
    _Own("scan_date", "scanDate", "Date", "external", "When the sheets were scanned"),
    _Own("scan_operator_id", "scanOperatorId", "Text", "external", "Who scanned, by id"),
    _Own("scanner_id", "scannerId", "Text", "external", "Which scanner"),
    _Own("scan_dpi", "scanDpi", "Integer", "external", "Dots per inch of the scan"),
    _Own("qc_status", "qcStatus", "Text", "external", "Outcome of the inspection"),
    _Own("qc_date", "qcDate", "Date", "external", "When it was inspected"),
    _Own("qc_inspector_id", "qcInspectorId", "Text", "external", "Who inspected, by id"),
    _Own("sample_plan", "samplePlan", "Text", "external", "Sampling plan of the inspection"),
    _Own("microfilm_roll", "microfilmRoll", "Text", "external", "Roll of film on which the pages stand"),
    _Own("microfilm_frame_first", "microfilmFrameFirst", "Integer", "external", "First frame on the roll"),
    _Own("microfilm_frame_last", "microfilmFrameLast", "Integer", "external", "Last frame on the roll"),
    _Own("image_address_first", "imageAddressFirst", "Text", "external", "Image address of the first frame"),
    _Own("page_count", "pageCount", "Integer", "internal", "Pages of the document"),
    _Own("source_sha256", "sourceSha256", "bag Text", "internal", "SHA-256 of each scan the pages were made from"),
    _Own("access_restriction", "accessRestriction", "Text", "external", "Open, or the code of a restriction"),
)


def xmp_packet(metadata: DocumentMetadata, *, part: int, conformance: str) -> bytes:
    """The XMP packet of a PDF/A-`part``conformance`, UTF-8, the same bytes for the same metadata."""
    description = [
        _simple("pdfaid:part", str(part)),
        _simple("pdfaid:conformance", conformance),
        _array("dc:title", "Alt", [_tidy(metadata.title) or "Untitled"]),
        _array("dc:creator", "Seq", [metadata.creator]),
        _simple("dc:identifier", metadata.identifier),
        _array("dc:description", "Alt", [metadata.description]),
        _array("dc:date", "Seq", [_w3c(metadata.created)]),
        _array("dc:language", "Bag", list(metadata.languages)),
        _array("dc:rights", "Alt", [metadata.rights]),
        _simple("pdf:Keywords", metadata.keywords),
        _simple("pdf:Producer", metadata.producer),
        _simple("xmp:CreatorTool", metadata.creator_tool),
        _simple("xmp:CreateDate", _w3c(metadata.created)),
        _simple("xmp:ModifyDate", _w3c(metadata.modified or metadata.created)),
        _simple("xmp:MetadataDate", _w3c(metadata.modified or metadata.created)),
    ]
    declared: list[str] = []
    for own in _OWN_PROPERTIES:
        value = getattr(metadata, own.field)
        if value is None or value in ("", ()):
            continue
        name = f"{PREFIX}:{own.name}"
        if isinstance(value, tuple):
            description.append(_array(name, "Bag", list(value)))
        else:
            description.append(_simple(name, _w3c(value) if isinstance(value, date) else str(value)))
        declared.append(_declaration(own))
    if declared:
        description.append(_extension_schema(declared))
    namespaces = {"dc": _DC, "xmp": _XMP, "pdf": _PDF, "pdfaid": _PDFAID}
    if declared:
        namespaces |= {
            PREFIX: NAMESPACE,
            "pdfaExtension": _EXTENSION,
            "pdfaSchema": _SCHEMA,
            "pdfaProperty": _PROPERTY,
        }
    spaces = "".join(f'\n    xmlns:{prefix}="{uri}"' for prefix, uri in namespaces.items())
    body = "\n".join(line for line in description if line)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f'<rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'<rdf:Description rdf:about=""{spaces}>\n'
        f"{body}\n"
        "</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    ).encode()


def document_information(metadata: DocumentMetadata) -> dict[str, str]:
    """The document information dictionary, each entry the twin of what the packet says (ISO 19005-1, 6.7.3)."""
    entries = {
        "/Title": _tidy(metadata.title) or "Untitled",
        "/Author": _tidy(metadata.creator),
        "/Subject": _tidy(metadata.description),
        "/Keywords": _tidy(metadata.keywords),
        "/Creator": _tidy(metadata.creator_tool),
        "/Producer": _tidy(metadata.producer),
        "/CreationDate": _pdf_date(metadata.created),
        "/ModDate": _pdf_date(metadata.modified or metadata.created),
    }
    return {key: value for key, value in entries.items() if value}


class Declarations(NamedTuple):
    """What a packet declares: its conformance level, and the own properties that it uses without describing them."""

    conformance: str | None
    undescribed: list[str]


def read_declarations(packet: bytes) -> Declarations:
    """What the packet declares.

    Raises:
        xml.etree.ElementTree.ParseError: the packet is no XML.
    """
    root = ET.fromstring(packet)
    described = {element.text for element in root.iter(f"{{{_PROPERTY}}}name")}
    own = f"{{{NAMESPACE}}}"
    used = [element.tag.removeprefix(own) for element in root.iter() if element.tag.startswith(own)]
    level = f"{{{_PDFAID}}}conformance"
    stated = [element.text for element in root.iter(level)] + [
        element.attrib[level] for element in root.iter() if level in element.attrib
    ]
    return Declarations(stated[0] if stated else None, [name for name in used if name not in described])


def _simple(name: str, value: str) -> str:
    text = _tidy(value)
    return f"<{name}>{escape(text, quote=False)}</{name}>" if text else ""


def _array(name: str, kind: Literal["Alt", "Seq", "Bag"], values: list[str]) -> str:
    language = ' xml:lang="x-default"' if kind == "Alt" else ""
    items = "".join(f"<rdf:li{language}>{escape(text, quote=False)}</rdf:li>" for text in map(_tidy, values) if text)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>" if items else ""


def _declaration(own: _Own) -> str:
    return (
        '<rdf:li rdf:parseType="Resource">'
        f"<pdfaProperty:name>{own.name}</pdfaProperty:name>"
        f"<pdfaProperty:valueType>{own.value_type}</pdfaProperty:valueType>"
        f"<pdfaProperty:category>{own.category}</pdfaProperty:category>"
        f"<pdfaProperty:description>{escape(own.description, quote=False)}</pdfaProperty:description>"
        "</rdf:li>"
    )


def _extension_schema(declared: list[str]) -> str:
    return (
        '<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">'
        "<pdfaSchema:schema>Document conversion by Platen</pdfaSchema:schema>"
        f"<pdfaSchema:namespaceURI>{NAMESPACE}</pdfaSchema:namespaceURI>"
        f"<pdfaSchema:prefix>{PREFIX}</pdfaSchema:prefix>"
        "<pdfaSchema:property><rdf:Seq>\n" + "\n".join(declared) + "\n</rdf:Seq></pdfaSchema:property>"
        "</rdf:li></rdf:Bag></pdfaExtension:schemas>"
    )


def _tidy(text: str) -> str:
    """One line without what XML cannot hold, so that packet and information dictionary read the same."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text if _is_xml(c))
    return " ".join(kept.split())[:MAX_TEXT].rstrip()


def _is_xml(character: str) -> bool:
    code = ord(character)
    return not (0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or code == 0xFEFF)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a moment in a document's metadata needs its time zone")
    return moment.astimezone(UTC).replace(microsecond=0)


def _w3c(moment: date | datetime) -> str:
    if isinstance(moment, datetime):
        return _utc(moment).isoformat().replace("+00:00", "Z")
    return moment.isoformat()


def _pdf_date(moment: datetime) -> str:
    return _utc(moment).strftime("D:%Y%m%d%H%M%SZ")
