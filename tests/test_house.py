"""The house keeps its own rules: every hold is explained, every profile loads, every stage is listed, no leftovers."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator

import pytest

import pipeline
import stages
from pipeline.profile import load_profiles
from pipeline.review import RELEASABLE
from stages.catalogue import PAGE_STAGES
from stages.errors import Refusal
from stages.settings import StageSettings
from tests.conftest import ROOT

HOLD_ROW = re.compile(r"^\| `(?P<code>[a-z0-9-]+)` \|.*\| (?P<decisions>[a-z, ]+) \|$", re.MULTILINE)
# the ledger holds with these itself; "crashed" is a refusal too
LEDGER_CODES = {"failed-repeatedly", "crashed", "awaiting-rescan", "awaiting-inspection", "quality-defect"}
# put together here, or this file would be the first to be found
OF_ONE_MACHINE = tuple(
    "".join(parts) for parts in (("/wo", "rk/"), ("py", "pi.org"), ("repo1.", "maven"), ("files.", "pythonhosted"))
)


def modules() -> Iterator[str]:
    """Everything in `stages` and `pipeline` that can be imported; migrations run only inside Alembic."""
    for package in (stages, pipeline):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if ".migrations" not in found.name:
                yield found.name


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for subclass in kind.__subclasses__():
        if subclass.__module__.partition(".")[0] in ("stages", "pipeline"):
            yield subclass
        yield from refusals(subclass)


@pytest.fixture(scope="module")
def codes() -> list[str]:
    for name in modules():
        importlib.import_module(name)
    return [refusal.code for refusal in refusals()]


@pytest.fixture(scope="module")
def explained() -> list[tuple[str, str]]:
    """Code and decisions of every row of docs/holds.md."""
    text = (ROOT / "docs" / "holds.md").read_text(encoding="utf-8")
    return [(row["code"], row["decisions"]) for row in HOLD_ROW.finditer(text)]


def test_every_code_means_one_thing(codes: list[str]) -> None:
    assert not [code for code, times in Counter(codes).items() if times > 1]
    assert Refusal.code not in codes, "a refusal without a code of its own"


def test_every_hold_is_explained_once_and_no_other(codes: list[str], explained: list[tuple[str, str]]) -> None:
    assert sorted(code for code, _ in explained) == sorted({*codes, *LEDGER_CODES})


def test_the_explanations_offer_release_where_it_is_allowed(explained: list[tuple[str, str]]) -> None:
    assert {code for code, decisions in explained if "release" in decisions} == RELEASABLE


def test_every_profile_of_the_house_loads() -> None:
    folder = ROOT / "profiles"
    assert set(load_profiles(folder)) == {path.stem for path in folder.glob("*.toml")} != set()


def test_every_page_stage_is_in_the_catalogue_and_kept_apart_from_the_others() -> None:
    stage_modules = set()
    for found in pkgutil.iter_modules(stages.__path__):
        module = importlib.import_module(f"stages.{found.name}")
        settings = getattr(module, "Settings", None)
        if callable(getattr(module, found.name, None)) and isinstance(settings, type):
            assert issubclass(settings, StageSettings)
            stage_modules.add(found.name)
    assert set(PAGE_STAGES) == stage_modules
    for name, stage in PAGE_STAGES.items():
        module = importlib.import_module(f"stages.{name}")
        assert (stage.name, stage.run, stage.settings) == (name, getattr(module, name), module.Settings)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (apart,) = [contract["modules"] for contract in contracts if contract["type"] == "independence"]
    assert set(apart) == {f"stages.{name}" for name in stage_modules}


def test_no_file_names_a_place_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so what belongs to the project is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    found = []
    for name in filter(None, listed.decode().split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" not in data:
            found += [f"{name}: {word}" for word in OF_ONE_MACHINE if word.encode() in data]
    assert not found
