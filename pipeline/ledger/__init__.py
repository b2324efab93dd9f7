"""What the bureau remembers. SQL is spoken here and nowhere else."""

from pipeline.ledger.database import LedgerUnusable
from pipeline.ledger.ledger import BatchChanged, Ledger, OrderNotOpen, UnknownOrder
from pipeline.ledger.work import Fenced

__all__ = ["BatchChanged", "Fenced", "Ledger", "LedgerUnusable", "OrderNotOpen", "UnknownOrder"]
