"""What the bureau remembers. SQL is spoken here and nowhere else."""

from pipeline.ledger.alarms import NoSuchAlarm
from pipeline.ledger.database import LedgerUnusable
from pipeline.ledger.inspections import AWAITING_INSPECTION, QUALITY_DEFECT, LotChanged, NotToBeLookedAt
from pipeline.ledger.leadership import Leadership
from pipeline.ledger.ledger import (
    AWAITING_RESCAN,
    BatchChanged,
    HeldNoLonger,
    Ledger,
    OrderNotOpen,
    PlaceClaimed,
    UnknownOrder,
)
from pipeline.ledger.package_links import NoSuchLink, PackageLink
from pipeline.ledger.people import NoPassword, NoSuchUser, Session, UserExists
from pipeline.ledger.tokens import NoSuchToken
from pipeline.ledger.work import Fenced, subject_of

__all__ = [
    "AWAITING_INSPECTION",
    "AWAITING_RESCAN",
    "QUALITY_DEFECT",
    "BatchChanged",
    "Fenced",
    "HeldNoLonger",
    "Leadership",
    "Ledger",
    "LedgerUnusable",
    "LotChanged",
    "NoPassword",
    "NoSuchAlarm",
    "NoSuchLink",
    "NoSuchToken",
    "NoSuchUser",
    "NotToBeLookedAt",
    "OrderNotOpen",
    "PackageLink",
    "PlaceClaimed",
    "Session",
    "UnknownOrder",
    "UserExists",
    "subject_of",
]
