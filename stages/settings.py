"""What every stage's settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StageSettings(BaseModel):
    """Settings of one stage: frozen, and a misspelt key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
