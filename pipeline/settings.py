"""This installation: home, database, broker, limits. Read from the environment (`PLATEN_*`), once."""

from __future__ import annotations

import math
import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.budget import BUDGET_FRACTION, MIB, machine_bytes
from pipeline.model import Role

HERE = Path(__file__).resolve().parent
EMBEDDED = "embedded"
BROKER_SCHEMES = ("redis://", "rediss://", "amqp://", "amqps://")
OBJECT_SCHEME = "s3://"
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?", re.ASCII)
CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def is_private_address(address: str) -> bool:
    """Whether what is sent there cannot be read on the way: TLS, or this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))


def roles_of(text: str) -> dict[str, Role]:
    """What values of a claim mean as roles, from `value=role,value=role`; nothing: each role's own name means it.

    Raises:
        ValueError: it is not written so, or there is no such role.
    """
    if not text.strip():
        return {role.value: role for role in Role}
    pairs = [pair.rpartition("=") for pair in text.split(",")]
    if not all(value.strip() and sign for value, sign, _ in pairs):
        raise ValueError("write group=role,group=role")
    return {value.strip(): Role(role.strip()) for value, _, role in pairs}


def _cpus() -> int:
    """Processors that this process may use: by affinity, and by the share that its container was given."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = CGROUP_CPU.read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no container, or "max"
        pass
    return max(1, count)


class Settings(BaseSettings):
    """Everything about the installation, nothing about the work (that is a profile)."""

    model_config = SettingsConfigDict(env_prefix="PLATEN_", frozen=True, extra="ignore")

    home: Path = Field(Path("platen-home"), description="folder with inbox, store, outbox, film and the ledger")
    database_url: str = Field("", description="SQLAlchemy address of the ledger; empty: SQLite in the home")
    broker_url: str = Field(
        EMBEDDED, description="embedded (each process feeds itself), redis://host:6379/0 or amqp://user:password@host"
    )
    store_url: str = Field(
        "",
        description="folder of the store, or s3://bucket/prefix (keys and endpoint: AWS_*); empty: store/ in the home",
    )
    cache: Path | None = Field(None, description="local folder for files of an s3:// store; empty: cache/ in the home")
    cache_mb: int = Field(4096, ge=64, le=1 << 24, description="how much of an s3:// store is kept in the cache")
    profiles: Path = Field(HERE.parent / "profiles", description="folder with profiles (*.toml) and rates/*.toml")
    workers: int = Field(default_factory=_cpus, ge=1, le=256, description="pages worked on at the same time")
    settle_seconds: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="a folder unchanged for this long is taken in"
    )
    scan_seconds: float = Field(2.0, gt=0, allow_inf_nan=False, description="pause between looks at the inbox")
    task_timeout_seconds: float = Field(
        600.0, gt=0, allow_inf_nan=False, description="a page that takes longer is stopped and held"
    )
    memory_limit_mb: int = Field(
        6144, ge=512, le=1 << 20, description="address space of one process that works on pages"
    )
    memory_budget_mb: int = Field(
        default_factory=lambda: round(BUDGET_FRACTION * machine_bytes() / MIB),
        ge=512,
        description="what all pages under way in one process may take together; 60 % of the machine or container",
    )
    min_free_mb: int = Field(500, ge=0, description="below this much free disk nothing more is taken in")
    upload_files: int = Field(10_000, ge=1, le=50_000, description="how many files one upload may have")
    upload_mb: int = Field(65_536, ge=1, le=1 << 24, description="how large one upload may be, all files together")
    upload_days: int = Field(7, ge=1, le=365, description="an upload that nobody went on with for so long is removed")
    log_format: Literal["text", "json"] = Field("text", description="lines for people, or a JSON document a line")
    metrics_token: SecretStr = Field(
        SecretStr(""), description="bearer token that whoever asks for /metrics must bear; empty: only this machine may"
    )
    public_url: str = Field(
        "",
        description="address of the console as people open it, https://...; links that are sent to agencies begin so",
    )
    proxies: str = Field(
        "",
        description="proxies before the console, 10.0.0.5,10.0.0.6: they are believed when they say who asks",
    )
    oidc_issuer: str = Field(
        "", description="address of the house that signs people in (OpenID Connect); empty: passwords alone"
    )
    oidc_client_id: str = Field("", description="what that house calls this console")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="the console's secret there")
    oidc_name: str = Field("single sign-on", description="what the button on the sign-in page says: Sign in with ...")
    oidc_scope: str = Field("openid profile email", description="what is asked for; the claims below must be in it")
    oidc_role_claim: str = Field("platen_role", description="claim that tells somebody's role, or groups")
    oidc_roles: str = Field(
        "", description="values of that claim that mean a role: supervisors=supervisor,scanners=operator; empty: as is"
    )
    oidc_customer_claim: str = Field("platen_customer", description="claim that tells an agency's customer code")
    bureau_name: str = Field("Records Conversion Bureau", description="name printed on tickets, targets, transmittals")

    @field_validator("home", "profiles", "cache")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("public_url", "oidc_issuer")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not is_private_address(value):
            raise ValueError("write an address that begins with https:// (http:// only on this machine)")
        return value

    @field_validator("proxies")
    @classmethod
    def _addresses(cls, value: str) -> str:
        return ",".join(str(ip_address(one.strip())) for one in value.split(",") if one.strip())

    @property
    def proxy_addresses(self) -> frozenset[str]:
        """The proxies that may say for whom they ask."""
        return frozenset(filter(None, self.proxies.split(",")))

    @field_validator("oidc_roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        roles_of(value)
        return value

    @model_validator(mode="after")
    def _whole_single_sign_on(self) -> Self:
        if bool(self.oidc_issuer) != bool(self.oidc_client_id):
            raise ValueError("PLATEN_OIDC_ISSUER and PLATEN_OIDC_CLIENT_ID are set together or not at all")
        return self

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value.startswith(OBJECT_SCHEME):
            if not _BUCKET.fullmatch(value):
                raise ValueError("write s3://bucket or s3://bucket/prefix, the prefix without empty parts or dots")
        elif "://" in value and not value.startswith("file:///"):
            raise ValueError(
                "the store is a folder or object storage: write a path, file:///path or s3://bucket/prefix"
            )
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if value != EMBEDDED and not value.startswith(BROKER_SCHEMES):
            raise ValueError("write embedded, redis://host:6379/0 or amqp://user:password@host:5672/")
        return value

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy address of the ledger."""
        return self.database_url or f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def store_folder(self) -> Path:
        """Where a store that is a folder keeps its files."""
        if not self.store_url:
            return self.home / "store"
        return Path(self.store_url.removeprefix("file://")).expanduser().absolute()

    @property
    def cache_folder(self) -> Path:
        """Where files of a store that is no folder are kept on this machine."""
        return self.cache or self.home / "cache"

    def folder(self, name: str) -> Path:
        """One of the folders of the home."""
        return self.home / name
