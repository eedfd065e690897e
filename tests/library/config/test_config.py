"""The configuration: nine countries as shipped, and every fault named with its place, all at once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from imagesys_lib.config import (
    DEFAULT_PATH,
    Fetch,
    HostLimits,
    country_config,
    lis_datasource_process_details,
    load_config,
)
from imagesys_lib.config.hostnames import host_of
from imagesys_lib.config.reading import read_version
from imagesys_lib.errors import EXIT_ENVIRONMENT, EXIT_USAGE, ConfigError, UsageError

ZONES = {
    "au": "Australia/Sydney",
    "br": "America/Sao_Paulo",
    "de": "Europe/Berlin",
    "es": "Europe/Madrid",
    "fr": "Europe/Paris",
    "in": "Asia/Kolkata",
    "it": "Europe/Rome",
    "mx": "America/Mexico_City",
    "uk": "Europe/London",
}


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.delenv("IMAGESYS_CONFIG", raising=False)
    monkeypatch.delenv("IMAGESYS_STAGING", raising=False)
    return yaml.safe_load(DEFAULT_PATH.read_text(encoding="utf-8"))


def faults(tmp_path: Path, raw: Any) -> list[str]:
    """The faults of a configuration, each as ``line: path: message``, with that line of the file in hand."""
    path = tmp_path / "countries.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    text = str(caught.value)
    assert str(path) in text
    return [line.strip().removeprefix(f"{path}:") for line in text.splitlines() if line.strip().startswith(f"{path}:")]


def test_the_shipped_file_has_nine_valid_countries(shipped: dict[str, Any]) -> None:
    countries = load_config()
    assert {name: config.time_zone for name, config in countries.items()} == ZONES
    for name, config in countries.items():
        assert config.country == name
        assert config.database == f"imagesys_{name}"
        assert config.etl.table == f"listings_{name}"
        assert [(s.width, s.height, s.mode) for s in config.sizes] == [(60, 60, "crop"), (160, 120, "fit")]
        assert (config.nodes, config.quorum) == (("n1", "n2", "n3"), 2)
        assert str(config.staging.root) == "/var/lib/imagesys/staging"
    assert countries["br"].batch.size == 5000
    assert countries["br"].batch.max_batches == 1000  # merged, not replaced
    assert countries["uk"].batch.size == 2000


def test_a_data_source_has_its_own_process_details_where_it_says_so(shipped: dict[str, Any]) -> None:
    assert lis_datasource_process_details("uk", 102).quality == 85
    assert lis_datasource_process_details("uk", 999) == country_config("uk").process
    assert lis_datasource_process_details("de", 102) == country_config("de").process


def test_what_a_data_source_does_not_say_is_as_its_country_says(shipped: dict[str, Any], tmp_path: Path) -> None:
    shipped["countries"]["uk"] |= {
        "process": {"sharpen": "0x2", "gamma": 1.1, "quality": 80},
        "datasources": {7: {"statuses": {403: "gone"}}, 8: {"quality": 70}},
    }
    (tmp_path / "countries.yaml").write_text(yaml.safe_dump(shipped))
    config = load_config(tmp_path / "countries.yaml")["uk"]
    assert config.process_details(7) == config.process
    assert config.process_details(8) == config.process.model_copy(update={"quality": 70})


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("IMG.Example.com", "http://img.example.com/a"),
        ("img.example.com.", "http://img.example.com/a"),
        ("b\u00fccher.example", "http://b\u00fccher.example/a"),
        ("b\u00fccher.example", "http://xn--bcher-kva.example/a"),
        ("img.example:443", "https://img.example/a"),
        ("img.example:80", "http://img.example/a"),
        ("Img.example:8080", "http://img.example:8080/a"),
        ("img.example", "http://img.example:8080/a"),
        ("192.0.2.7", "http://192.0.2.7:81/a"),
        ("[2001:DB8::1]", "http://[2001:db8::1]:81/a"),
    ],
)
def test_the_limits_of_a_host_hold_however_it_is_spelt(written: str, url: str) -> None:
    fetch = Fetch(user_agent="ImageSys-test/1 (+https://example.com)", hosts={written: {"per_host": 1}}, rate=3)
    assert fetch.limits(host_of(url)) == HostLimits(per_host=1, rate=3)


@pytest.mark.parametrize(
    "hosts",
    [
        *([name] for name in ("https://img.example.com/", "img.example.com/photos", "*.example.com", "a@b.example")),
        *([name] for name in ("", "img.example:port", "img.example:0", "a b.example", "2001:db8::1", "a..b")),
        ["img.example", "IMG.example"],
    ],
)
def test_limits_of_what_is_no_host_or_one_named_twice_are_refused(hosts: list[str]) -> None:
    with pytest.raises(ValidationError, match=r"is no host|named twice"):
        Fetch(user_agent="ImageSys-test/1 (+https://example.com)", hosts={host: {"per_host": 1} for host in hosts})


def test_a_host_has_the_rate_of_all_unless_it_says_otherwise() -> None:
    hosts = {"a.example": {"per_host": 2}, "b.example": {"per_host": 2, "rate": None}}
    fetch = Fetch(user_agent="ImageSys-test/1 (+https://example.com)", hosts=hosts, rate=3)
    assert [fetch.limits(host).rate for host in ("a.example", "b.example", "c.example")] == [3, None, 3]


def test_variables_and_the_country_are_filled_in(shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESYS_STAGING", "/fast/disk")
    read_version.cache_clear()
    try:
        assert str(load_config()["in"].staging.root) == "/fast/disk"
    finally:
        read_version.cache_clear()


def test_all_faults_are_reported_at_once_each_with_its_line_and_path(shipped: dict[str, Any], tmp_path: Path) -> None:
    shipped["countries"]["uk"] |= {
        "time_zone": "Europe/Londres",
        "quorum": 4,
        "batch": {"size": 0},
        "alerts": {"mail_to": ["nobody"]},
        "colour": "blue",
    }
    shipped["countries"]["de"] |= {"etl": {"table": "listings; DROP TABLE x"}, "start": "25:00"}
    shipped["countries"]["fr"] |= {"nodes": ["n1", "n1"], "image_base_url": "ftp://x"}
    found = faults(tmp_path, shipped)
    lines = (tmp_path / "countries.yaml").read_text().splitlines()
    wanted = {
        "countries.uk.time_zone": "is not a time zone",
        "countries.uk.quorum": "quorum 4 is more than the 3 nodes",
        "countries.uk.batch.size": "greater than or equal to 1",
        "countries.uk.alerts.mail_to": "is not a mail address",
        "countries.uk.colour": "Extra inputs",
        "countries.de.etl.table": "is not a table or column name",
        "countries.de.start": "pattern",
        "countries.fr.nodes": "distinct connection ids",
        "countries.fr.image_base_url": "pattern",
    }
    for place, message in wanted.items():
        mine = [fault for fault in found if f": {place}: " in fault]
        assert len(mine) == 1, (place, found)
        assert message in mine[0]
        number = int(mine[0].split(":")[0])
        assert re.match(rf"\s*{place.rsplit('.', 1)[1]}:", lines[number - 1]), (place, lines[number - 1])
    assert len(found) == len(wanted)


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ({"quorum": 4}, "defaults.quorum", "quorum 4 is more than the 3 nodes"),
        ({"quorum": 0}, "defaults.quorum", "greater than or equal to 1"),
        ({"nodes": []}, "defaults.nodes", "at least 1 item"),
        ({"nodes": ["n1; rm -rf /"]}, "defaults.nodes", "distinct connection ids"),
        ({"node_urls": {"n9": "http://n9.example.com/lis"}}, "defaults.node_urls", "n9: not one of the nodes"),
        ({"node_urls": {"n1": "n1.example.com"}}, "defaults.node_urls.n1", "pattern"),
        ({"canary": {"url": "http://a.example/1.jpg"}}, "defaults.canary.sha1", "Field required"),
        ({"sizes": []}, "defaults.sizes", "at least 1 item"),
        ({"sizes": [{"width": 60, "height": 60, "mode": "stretch"}]}, "defaults.sizes.0.mode", "'crop' or 'fit'"),
        ({"alerts": {"warn_minutes": 240}}, "defaults.alerts.deadline_minutes", "must come after warn_minutes (240)"),
        ({"alerts": {"mail_to": []}}, "defaults.alerts.mail_to", "at least 1 item"),
        ({"alerts": {"mail_to": ["a@b, c@d"]}}, "defaults.alerts.mail_to", "is not a mail address"),
        ({"etl": {"time_zone": "Mars"}}, "defaults.etl.time_zone", "is not a time zone"),
        ({"etl": {"time_zone": "Europe"}}, "defaults.etl.time_zone", "is not a time zone"),
        ({"process": {"sharpen": "very"}}, "defaults.process.sharpen", "pattern"),
        ({"process": {"quality": 101}}, "defaults.process.quality", "less than or equal to 100"),
        ({"purge": {"cap_percent": 101}}, "defaults.purge.cap_percent", "less than or equal to 100"),
        ({"fetch": {"max_bytes": "lots"}}, "defaults.fetch.max_bytes", "valid integer"),
        ({"fetch": {"user_agent": "Mozilla/5.0 (X11)"}}, "defaults.fetch.user_agent", "names no contact"),
        ({"database": "a`b"}, "defaults.database", "is not a database name"),
        ({"batch": {"max_batches": 1025}}, "defaults.batch.max_batches", "less than or equal to 1024"),
        ({"nonsense": 1}, "defaults.nonsense", "Extra inputs"),
    ],
)
def test_a_fault_in_the_defaults_is_reported_once_for_all_countries(
    shipped: dict[str, Any], tmp_path: Path, change: dict[str, Any], place: str, message: str
) -> None:
    for key, value in change.items():
        old = shipped["defaults"].get(key)
        shipped["defaults"][key] = {**old, **value} if isinstance(old, dict) else value
    found = faults(tmp_path, shipped)
    mine = [fault for fault in found if f": {place}: " in fault]
    assert len(mine) == 1, found
    assert message in mine[0]
    # pydantic counts an item that is wrong itself as missing from its list, and says that too
    assert all("after validation, not 0" in fault for fault in found if fault not in mine)


def test_a_missing_setting_names_the_country(tmp_path: Path) -> None:
    found = faults(tmp_path, {"countries": {"uk": {"name": "UK"}}})
    assert any("countries.uk.etl" in fault and "required" in fault for fault in found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "countries: {}",
        "countries: [uk]",
        "defaults: {}",
        "a: b: c",
        'countries: {uk: {time_zone: "Europe/London}',
        "countries: {uk: nonsense}",
        "defaults: nonsense\ncountries: {uk: {}}",
        "extra: {}\ncountries: {uk: {}}",
        "countries: {UK2: {}}",
    ],
)
def test_a_file_of_another_shape_is_a_clear_fault_and_no_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "countries.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_config(path)


def test_a_missing_file_and_an_unknown_country_are_clear(tmp_path: Path, shipped: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="IMAGESYS_CONFIG"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="No country 'xx'") as caught:
        country_config("xx")
    assert caught.value.exit_code == EXIT_USAGE


def test_a_changed_file_is_read_again(shipped: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "countries.yaml"
    path.write_text(yaml.safe_dump(shipped))
    assert load_config(path)["uk"].quorum == 2
    shipped["defaults"]["quorum"] = 1
    path.write_text(yaml.safe_dump(shipped))
    os.utime(path, ns=(1, 1))
    assert load_config(path)["uk"].quorum == 1
