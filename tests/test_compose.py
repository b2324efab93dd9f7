"""The files for containers say what the project can do: every command exists, no password stands in them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
import yaml

from console.terminal import app
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("platen:")}


def test_every_process_of_the_floor_is_there() -> None:
    assert set(OURS) == {"migrate", "watcher", "feeder", "worker", "documents", "console"}
    assert set(SERVICES) - set(OURS) == {"postgres", "redis", "rabbitmq"}
    assert SERVICES["rabbitmq"]["profiles"] == ["rabbitmq"]


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_platen_takes(name: str) -> None:
    program, verb, *options = OURS[name]["command"]
    assert program == "platen"
    command = typer.main.get_command(app)
    found = command.get_command(typer.Context(command), verb)  # type: ignore[attr-defined]
    assert found is not None
    found.make_context(verb, options)


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, default in re.findall(r"\$\{(PLATEN_\w+)([^}]*)", text):
        if "PASSWORD" in name:
            assert default.startswith(":?"), f"{name} must be set by whoever starts it"
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if "PASS" in key or "AUTH" in key:
                assert str(value).startswith("${PLATEN_"), key


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_service_tells_its_health_and_starts_again(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_console_is_published_to_this_machine_alone_unless_told_otherwise() -> None:
    assert OURS["console"]["ports"] == ["${PLATEN_CONSOLE_ADDRESS:-127.0.0.1:8080}:8080"]
    assert "/healthz" in OURS["console"]["healthcheck"]["test"][-1]


def test_what_a_service_waits_for_is_there_and_its_volumes_are_named() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed]
            else:
                assert SERVICES[needed]["restart"] == "no"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_workers_have_time_to_give_back_what_they_hold() -> None:
    assert all(service["stop_grace_period"] == "35s" for service in OURS.values())


def test_the_image_holds_what_the_project_needs() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    assert recipe.startswith("# ") and "FROM debian:13" in recipe
    for package in ("stages", "pipeline", "workers", "console", "profiles", "fixtures"):
        assert f"COPY {package} ./{package}" in recipe
    wanted = (ROOT / "bench" / "system_packages.sh").read_text().partition("NEEDED+=")[0]
    for name in re.findall(r'\]="([a-z0-9-]+)"', wanted):
        assert name in recipe, f"{name} is needed to run, and not in the image"
    assert "USER platen" in recipe
