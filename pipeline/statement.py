"""What was charged in a month, read from what the ledger recorded when packages went out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pipeline.bureau import Bureau
from pipeline.model import Charge, PageCounts, WorkOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedDelivery:
    """One delivery of an order: when it went out (UTC), how its order's pages stand now, and what it charged."""

    order: WorkOrder
    delivered_on: date
    delivery: int
    pages: PageCounts
    charges: Sequence[Charge]

    @property
    def amount(self) -> Decimal:
        """What the delivery costs."""
        return sum((charge.amount for charge in self.charges), Decimal("0.00"))


def deliveries_of_month(bureau: Bureau, year: int, month: int) -> list[ChargedDelivery]:
    """Every delivery that went out in a month, by customer, order and delivery.

    What is charged is what was written into the ledger then: a price that has changed since changes nothing.
    """
    found = []
    for order in bureau.ledger.orders():
        if not order.deliveries:
            continue
        charges = bureau.ledger.charges(order.id)
        sent = (event for event in bureau.ledger.events(order.id) if event.kind == "delivered")
        for delivery, event in enumerate(sent, start=1):
            if (event.at.year, event.at.month) == (year, month):
                found.append(
                    ChargedDelivery(
                        order=order,
                        delivered_on=event.at.date(),
                        delivery=delivery,
                        pages=bureau.ledger.order_counts(order.id),
                        charges=[charge for charge in charges if charge.delivery == delivery],
                    )
                )
    return sorted(found, key=lambda one: (one.order.customer, one.order.number, one.delivery))
