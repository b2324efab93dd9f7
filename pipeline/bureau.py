"""Everything a verb needs, opened together: ledger, store, profiles, settings, and a place for risky work."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.budget import MIB, MemoryBudget
from pipeline.ledger import Ledger, LedgerUnusable
from pipeline.measures import Measures
from pipeline.model import Sha256, WorkOrder
from pipeline.profile import Profile, load_profiles, profile_from_json
from pipeline.sandbox import Sandbox
from pipeline.settings import OBJECT_SCHEME, Settings
from pipeline.store import FolderStore, Store
from stages.errors import LanguageMissing
from stages.ocr import missing_languages

FOLDERS = ("inbox", "error", "done", "outbox", "film")


@dataclass(frozen=True)
class Bureau:
    """One opened installation. Every verb takes it first."""

    settings: Settings
    ledger: Ledger
    store: Store
    sandbox: Sandbox
    measures: Measures = field(default_factory=Measures)
    _profiles_of_orders: dict[str, Profile] = field(default_factory=dict)

    @classmethod
    def init(cls, settings: Settings) -> Bureau:
        """Make the home where it is missing, bring the ledger to this version, and open both."""
        for name in FOLDERS:
            settings.folder(name).mkdir(parents=True, exist_ok=True)
        open_store(settings).make()
        ledger = Ledger(settings.ledger_url)
        ledger.migrate()
        while ledger.link_events():
            pass  # a ledger of a version before may have a long history
        ledger.close()
        return cls.open(settings)

    @classmethod
    def open(cls, settings: Settings) -> Bureau:
        """Open what `init` has made.

        Raises:
            LedgerUnusable: there is no home here yet, or its ledger is of another version.
        """
        if not settings.home.is_dir():
            raise LedgerUnusable(f"There is no home at {settings.home} yet. Run: platen init")
        ledger = Ledger(settings.ledger_url)
        ledger.check_version()
        measures = Measures()
        sandbox = Sandbox(
            memory_limit_mb=settings.memory_limit_mb,
            timeout_s=settings.task_timeout_seconds,
            budget=MemoryBudget(settings.memory_budget_mb * MIB),
            measures=measures,
        )
        return cls(
            settings=settings,
            ledger=ledger,
            store=open_store(settings),
            sandbox=sandbox,
            measures=measures,
        )

    def close(self) -> None:
        """Stop the children and give the connections back."""
        self.sandbox.close()
        self.ledger.close()

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """The profiles of this installation by name.

        Raises:
            BadProfile: one of them is bad.
        """
        return load_profiles(self.settings.profiles)

    def profile_of(self, order: WorkOrder) -> Profile:
        """The profile as it was when the order was opened."""
        if order.profile_digest not in self._profiles_of_orders:
            kept = self.ledger.profile_document(order.profile_digest)
            self._profiles_of_orders[order.profile_digest] = profile_from_json(kept)
        return self._profiles_of_orders[order.profile_digest]

    def check_languages(self) -> None:
        """Make sure that the recogniser has every language that a profile names.

        Raises:
            LanguageMissing: it has not.
        """
        wanted = {language for profile in self.profiles.values() for language in profile.languages}
        if missing := missing_languages(tuple(sorted(wanted))):
            raise LanguageMissing(missing)

    def relative(self, path: Path) -> str:
        """A path as people are told it: relative to the home, or whole when it lies outside (a store of its own)."""
        home = self.settings.home
        return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)

    def store_place(self, digest: Sha256) -> str:
        """Where people find a file of the store: a path as `relative` tells it, or an address."""
        return self.shown_place(self.store.place(digest))

    def shown_place(self, place: str) -> str:
        """A place in the store as people are told it."""
        return place if place.startswith(OBJECT_SCHEME) else self.relative(Path(place))

    def scratch(self) -> AbstractContextManager[Path]:
        """A folder for files on their way into the store; emptied afterwards."""
        return self.store.scratch_folder()


def open_store(settings: Settings) -> Store:
    """The store as the settings say."""
    if settings.store_url.startswith(OBJECT_SCHEME):
        from pipeline.object_store import ObjectStore  # most bureaus keep a folder, and need not load its library

        return ObjectStore(settings.store_url, cache=settings.cache_folder, cache_mb=settings.cache_mb)
    return FolderStore(settings.store_folder)
