"""Count what was done, price it by a rate card. Money is decimal from end to end."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.bureau import Bureau
from pipeline.model import Charge, Usage, WorkOrder
from stages.errors import Refusal

_CENT = Decimal("0.01")
_PRICE_STEP = Decimal("0.0001")  # the ledger keeps 1/10,000 of the currency unit; fees go down to $.085 (DOMAIN 6.1)


class BadRateCard(Refusal):
    """A rate card that cannot be used; the sentence names the file, the place and the fault, one a line."""

    code: ClassVar[str] = "bad-rate-card"


class Fee(BaseModel):
    """One price: what is counted, in which units, from which day on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=r"^[A-Z0-9][A-Z0-9-]{0,18}$")
    title: str
    counts: Literal["billable_pages", "documents", "film_frames", "rolls"]
    price: Decimal = Field(ge=0, le=1_000_000)
    unit_size: int = Field(1, ge=1, description="units counted for one price; a part counts as a whole")
    authority: str = Field("", description="rule or law that sets the fee")
    effective_from: date
    effective_to: date | None = None

    @field_validator("price", mode="before")
    @classmethod
    def _price_is_text(cls, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("write the price in quotes, so that it stays exact")
        return value

    @field_validator("price")
    @classmethod
    def _price_is_kept_exactly(cls, value: Decimal) -> Decimal:
        if value != value.quantize(_PRICE_STEP):
            raise ValueError("at most four decimals")
        return value.quantize(_PRICE_STEP)

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Fee:
        if self.effective_to is not None and self.effective_to < self.effective_from:
            raise ValueError("effective_to lies before effective_from, so the fee would never be in force")
        return self


class RateCard(BaseModel):
    """Prices of a customer, or of everybody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    currency: str = "USD"
    fee: tuple[Fee, ...]

    def fees_on(self, day: date) -> list[Fee]:
        """The fees that are in force on a day."""
        return [
            fee
            for fee in self.fee
            if fee.effective_from <= day and (fee.effective_to is None or day <= fee.effective_to)
        ]


def load_rate_card(folder: Path, customer: str, standard: str) -> RateCard:
    """The customer's own card (`rates/<customer>.toml`) if there is one, else the standard one.

    Raises:
        BadRateCard: there is none, it does not parse, or two fees with one code are in force at once.
    """
    own = folder / f"{customer.lower()}.toml"
    return read_rate_card(own if own.is_file() else folder / f"{standard}.toml")


def read_rate_card(path: Path) -> RateCard:
    """The rate card in a TOML file.

    Raises:
        BadRateCard: there is none, it does not parse, or two fees with one code are in force at once.
    """
    try:
        card = RateCard.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadRateCard(f"There is no rate card {path.name} in {path.parent}.") from None
    except ValidationError as error:
        raise BadRateCard("\n".join(f"{path.name}, {sentence}" for sentence in _sentences(error))) from error
    except (ValueError, RecursionError) as error:  # bad TOML, no UTF-8, a number of 5,000 digits, nested too deeply
        raise BadRateCard(f"{path.name}: {error}") from error
    for fee in card.fee:
        others = [other for other in card.fee if other.code == fee.code and other is not fee]
        if any((fee.counts, fee.unit_size) != (other.counts, other.unit_size) for other in others):
            # what was charged before is subtracted by code, so a code must always mean the same unit
            raise BadRateCard(
                f"{path.name}: fee {fee.code} counts different things; give the new one a code of its own"
            )
        if any(_overlap(fee, other) for other in others):
            raise BadRateCard(f"{path.name}: two fees {fee.code} are in force at the same time")
    return card


def charges(usage: Usage, charged: Sequence[Charge], card: RateCard, *, on: date, delivery: int) -> list[Charge]:
    """What is charged now: what has been done, less what was charged before.

    An amount is rounded half up to cents, line by line; a part of a unit counts as a whole one.
    """
    lines = []
    for fee in card.fees_on(on):
        before = sum((line.quantity for line in charged if line.fee_code == fee.code), Decimal(0))
        if (quantity := units(usage, fee) - before) > 0:
            lines.append(
                Charge(
                    fee_code=fee.code,
                    title=fee.title,
                    quantity=quantity,
                    unit_price=fee.price,
                    amount=amount_of(quantity, fee.price),
                    delivery=delivery,
                )
            )
    return lines


def charges_so_far(bureau: Bureau, order: WorkOrder, usage: Usage, charged: Sequence[Charge]) -> list[Charge]:
    """What the next statement would charge if the order were delivered today.

    Raises:
        BadRateCard: the customer's card cannot be used.
    """
    profile = bureau.profile_of(order)
    card = load_rate_card(bureau.settings.profiles / "rates", order.customer, profile.billing.rate_card)
    return charges(usage, charged, card, on=datetime.now(UTC).date(), delivery=order.deliveries + 1)


def units(usage: Usage, fee: Fee) -> Decimal:
    """How many units of a fee were done; a part of one counts as a whole."""
    counted: Mapping[str, int] = {
        "billable_pages": usage.billable_pages,
        "documents": usage.documents,
        "film_frames": usage.film_frames,
        "rolls": usage.rolls,
    }
    return (Decimal(counted[fee.counts]) / fee.unit_size).to_integral_value(ROUND_CEILING)


def amount_of(quantity: Decimal, price: Decimal) -> Decimal:
    """What so many cost, rounded half up to cents."""
    return (quantity * price).quantize(_CENT, ROUND_HALF_UP)


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for fault in error.errors():
        # fees are counted from 1, as people do
        place = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in fault["loc"])
        sentences.append(f"{place}: {fault['msg'].removeprefix('Value error, ')}")
    return sentences


def _overlap(one: Fee, other: Fee) -> bool:
    return one.effective_from <= (other.effective_to or date.max) and other.effective_from <= (
        one.effective_to or date.max
    )
