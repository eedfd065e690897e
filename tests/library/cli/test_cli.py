"""The command line: exit codes 0, 1, 2 and 3, one clear message each, and JSON where a machine reads."""

from __future__ import annotations

import importlib.metadata
import io
import json
import sys

import pytest
import sqlalchemy as sa

from imagesys_lib.cli.backfill import backfill_command
from imagesys_lib.db.schema import lis_runs
from imagesys_lib.db.upgrade import head_version
from imagesys_lib.errors import UsageError
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash, thumbnail_path
from include.sandbox import ManifestEntry
from tests.support.world import NODES, Ran, World, drop_connection, set_connection

Entries = dict[str, ManifestEntry]
COMMANDS = (
    *("run", "ingest", "plan", "download", "thumbnail", "sync", "publish", "purge", "heal", "backfill", "retry"),
    *("explain", "status", "doctor", "check", "path", "classify", "hash", "fs-check", "db-scan", "repair", "db"),
    "canary",
)


def script(world: World, *arguments: str, code: int = 0) -> Ran:
    """Run the installed console script as a process of its own."""
    child = world.spawn(*arguments)
    out, err = child.communicate(timeout=120)
    assert child.returncode == code, err
    assert "Traceback" not in err
    return Ran(code, out, err)


# The installed script


def test_the_script_runs_a_whole_day_and_explains_itself(world: World) -> None:
    entries = world.seed(15)
    world.put("bad", "http://127.0.0.11:9/none.jpg")
    ran = script(world, "run", "uk", "--interval", "2026-03-28")
    assert "Nothing was lost." in ran.out
    assert "sync n3:" in ran.out
    url = next(url for url, entry in entries.items() if entry.local_day == "2026-03-28")
    h = lis_hash_for_url(url)
    (found,) = script(world, "explain", url, "uk", "--json", "--no-nodes").json
    assert (found["image_hash"], found["verdict"]) == (h, "Live.")
    assert script(world, "hash", url).out == h + "\n"
    error = script(world, "explain", "http://nowhere/", "uk", code=2).err
    assert error.startswith("Nothing is known of 'http://nowhere/' in uk. Remedy: check the spelling")


def test_help_names_every_command_in_its_group(world: World) -> None:
    text = script(world, "--help").out
    assert all(f" {command} " in text for command in COMMANDS)
    groups = ("See how things stand", "Do a run's work by hand", "Do it again", "Check and repair nodes", "Keep house")
    assert [group for group in groups if group not in text] == []


def test_the_version_is_the_packages(world: World) -> None:
    assert world.cli("--version").out == f"imagesys {importlib.metadata.version('imagesys')}\n"


def test_a_shell_completes_commands_and_countries(world: World) -> None:
    def completed(words: str) -> list[str]:
        count = len(words.split(" ")) - 1
        asked = {"_IMAGESYS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
        for name, value in asked.items():
            world.patch.setenv(name, value)
        return script(world).out.split()

    assert completed("imagesys sta") == ["status"]
    assert "uk" in completed("imagesys status u")
    world.configure(quorum=7)
    assert completed("imagesys status u") == []  # a broken configuration prints nothing into somebody's line
    for name in ("_IMAGESYS_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
        world.patch.delenv(name)


def test_a_country_is_an_argument_everywhere(world: World) -> None:
    """Only the call that the design names has it as an option, too."""
    for command in sorted({*COMMANDS} - {"hash", "path", "db"}):
        usage = world.cli(command, "--help").out
        assert "COUNTRY" in usage.split("Options")[0], command
        assert ("--country" in usage) == (command == "check"), command
    assert "COUNTRY" in world.cli("db", "upgrade", "--help").out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "db"])
def test_every_command_has_an_example(world: World, command: str) -> None:
    assert f"Example: imagesys {command}" in world.cli(command, "--help").out


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "xx"], "No country 'xx'"),
        (["run"], "Missing argument"),
        (["nonsense"], "No such command"),
        (["run", "uk", "--interval", "yesterday"], "give 2026-03-01"),
        (["run", "uk", "--interval", "9999-12-31"], "Cannot read the interval '9999-12-31'"),
        (["ingest", "uk", "--interval", "0001-01-01"], "the year must lie between 2000 and"),
        (["run", "uk", "--interval", "2026-03-01/2999-01-01"], "the year must lie between 2000 and"),
        (["run", "uk", "--interval", ""], "give 2026-03-01"),
        (["retry", "uk", "--since", "9999-12-31T23:59-12:00"], "Cannot read the time"),
        (["retry", "uk", "--since", ""], "Cannot read the time ''"),
        (["backfill", "uk", "2026-03-01", "2999-01-01"], "The day 2999-01-01 has not ended yet"),
        (["backfill", "uk", "0001-01-01", "2026-03-01"], "Not a day: the year must lie between 2000"),
        (["backfill", "uk", "2026-03-01", "9999-12-31"], "The day 9999-12-31 has not ended yet"),
        (["path", "nonsense"], "not an image hash"),
        (["check", "--country", "uk"], "Say --all"),
        (["fs-check", "uk", "--part", "xyz"], "say a, a0 or 24-48"),
        (["fs-check", "uk", "--part", "a", "--today"], "Say one of"),
        (["classify", "uk", "0" * 40], "Give one of --as and --undo"),
        (["classify", "uk", "--as", "ballroom", "0" * 40], "uk has no class 'ballroom'"),
        (["explain", "L-unknown", "uk"], "Nothing is known"),
        (["backfill", "uk", "2026-03-02", "2026-03-01"], "before the first day"),
        (["backfill", "uk", "soon", "later"], "write days as YYYY-MM-DD"),
        (["backfill", "uk", "2026-03-01", "2026-03-02", "--reprocess-behavior", "all"], "none, failed or completed"),
    ],
)
def test_a_wrong_call_ends_with_2(world: World, arguments: list[str], part: str) -> None:
    ran = world.cli(*arguments)
    assert ran.code == 2
    assert part in " ".join((ran.err + ran.out).split())


def test_a_missing_connection_a_broken_one_and_bad_config_end_with_3_and_their_remedy(world: World) -> None:
    set_connection(world, "IMAGESYS_DB", password="wrong")
    ran = world.cli("status", "uk")
    assert (ran.code, "check the connection's login" in ran.err, "wrong" in ran.err) == (3, True, False)
    world.patch.setenv("AIRFLOW_CONN_IMAGESYS_DB", "{broken")
    ran = world.cli("plan", "uk")
    assert (ran.code, "write it as JSON" in ran.err) == (3, True)
    drop_connection(world, "IMAGESYS_DB")
    ran = world.cli("plan", "uk")
    assert (ran.code, "set AIRFLOW_CONN_IMAGESYS_DB" in ran.err) == (3, True)
    world.configure(quorum=7)
    ran = world.cli("plan", "uk")
    assert ran.code == 3
    assert "countries.yaml:" in ran.err
    assert "quorum 7 is more than the 3 nodes" in ran.err


def test_a_node_that_is_away_makes_sync_and_run_end_with_1_and_names_the_remedy(world: World) -> None:
    world.seed(4)
    world.sandbox.nodes.stop_node("n2")
    ran = world.cli("run", "uk", "--interval", "2026-03-28")
    assert ran.code == 1
    assert "WORK LOST" in ran.out
    assert "start sshd on n2" in ran.out
    ran = world.cli("sync", "uk", "--json")
    assert ran.code == 1
    assert ran.json.keys() == set(NODES)
    assert "start sshd on n2" in ran.json["n2"]["fault"]
    world.sandbox.nodes.start_node("n2")
    assert world.cli("sync", "uk", "--node", "n2").code == 0
    world.equal_trees()


# Stage by stage, with JSON


def test_each_stage_by_hand_brings_the_photos_live_and_speaks_json(world: World) -> None:
    entries = world.seed(12)
    day = ["--interval", "2026-03-28"]
    assert world.cli("ingest", "uk", *day, "--json").json == {
        "listings": 4,
        "new": 12,
        "released": 0,
        "skipped": 0,
        "cut": 0,
    }
    (batch,) = world.cli("plan", "uk", "--json").json
    assert batch["size"] == 12
    assert world.cli("plan", "uk").out == "No rows gained. No work to do.\n"
    name = f"batch {batch['batch_id']}"
    assert world.cli("download", "uk", "--json").json[name]["fetched"] == 12
    assert world.cli("thumbnail", "uk", "--json").json[name]["made"] == 12
    assert world.cli("thumbnail", "uk").out.startswith("No rows gained")
    assert {row["pushed"] for row in world.cli("sync", "uk", "--json").json.values()} == {24}
    assert world.cli("publish", "uk", "--json").json == {"published": 12}
    assert world.cli("heal", "uk", "--json").json["batches"] == 0
    assert world.cli("purge", "uk", "--dry-run", "--json").json["unpublished"] == 0
    assert world.cli("retry", "uk", "--json").json == {"requeued": 0}
    assert world.live().keys() == entries.keys()


def test_run_speaks_json(world: World) -> None:
    world.seed(3)
    ran = world.cli("run", "uk", "--interval", "2026-03-28", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert (ran.json["kind"], ran.json["lost"], ran.json["states"]) == ("manual", [], {"live": 3})
    assert world.rows(sa.select(lis_runs))[0].run_id == ran.json["run_id"]


def test_a_report_is_of_the_last_run_or_of_that_of_an_interval(world: World) -> None:
    world.seed(3)
    for day in ("2026-03-28", "2026-03-27"):
        assert world.cli("run", "uk", "--interval", day).code == 0
    days = {
        asked: [run["day"] for run in world.cli("report", "uk", *asked, "--json").json]
        for asked in ((), ("--interval", "2026-03-28"), ("--interval", "2026-03-01"))
    }
    assert list(days.values()) == [["2026-03-27"], ["2026-03-28"], []]
    reported = world.cli("report", "uk", "--interval", "2026-03-01")
    assert (reported.code, reported.out) == (0, "UK: no run of that interval has ended yet\n")
    assert world.cli("report", "uk", "--interval", "someday").code == 2


def test_status_shows_how_a_country_stands(world: World, live: Entries) -> None:
    (found,) = world.cli("status", "uk", "--json").json
    assert (found["live"], found["states"], found["last_run"]["state"]) == (40, {"live": 40}, "success")
    assert {node["backlog"] for node in found["nodes"].values()} == {0}
    assert "40" in world.cli("status", "uk").out


def test_explain_tells_all_of_a_url_a_hash_and_a_listing(world: World, live: Entries) -> None:
    url, entry = next(iter(live.items()))
    h = lis_hash_for_url(url)
    texts = [world.cli("explain", what, "uk").out for what in (url, h)]
    assert texts[0] == texts[1]
    for part in ("UK: Live.", h, lis_path_for_hash(h), entry.listing_ids[0], "n3", f"{h[3:]}.2.jpg", "number 0 of run"):
        assert part in texts[0]
    found = world.cli("explain", entry.listing_ids[0], "uk", "--no-nodes", "--json").json
    listed = [lis_hash_for_url(one) for one, e in live.items() if entry.listing_ids[0] in e.listing_ids]
    assert sorted(one["image_hash"] for one in found) == sorted(listed)

    (world.root("n2") / thumbnail_path("uk", h, 2)).unlink()
    world.sql(
        "UPDATE lis_images SET state = 'rejected', reason = 'http_404', detail = 'gone' WHERE image_hash = :h", h=h
    )
    world.sql("DELETE FROM lis_live_images WHERE image_hash = :h", h=h)
    world.sandbox.nodes.stop_node("n3")
    (row,) = world.cli("explain", url, "uk", "--json").json
    facts = dict(row["facts"])
    assert row["verdict"] == "Not live: http_404; waits for new ETL data or `imagesys retry`."
    assert facts["state"] == "rejected: http_404 (The host answered with status 404.) gone"
    assert facts["n2"].count(".jpg") == 1
    assert "start sshd on n3" in facts["n3"]
    assert world.cli("retry", "uk", "--reason", "http_404").out == "requeued: 1\n"


def test_explain_over_all_countries_says_which_cannot_answer(world: World, live: Entries) -> None:
    ran = world.cli("explain", next(iter(live)), "--no-nodes", "--json")
    assert ran.code == 0
    assert len(ran.json) == 1
    complaints = ran.err.splitlines()
    assert [line[:3] for line in complaints if "imagesys db upgrade" in line] == [
        f"{name}:" for name in ("au", "br", "de", "es", "fr", "in", "it", "mx") if f"{name}: " in ran.err
    ]
    assert len(complaints) == len(set(complaints)) >= 7  # each once


def test_the_checks_end_with_1_where_something_differs(world: World, live: Entries) -> None:
    assert world.cli("check", "--all", "--country", "uk").code == 0
    path = thumbnail_path("uk", lis_hash_for_url(next(iter(live))), 1)
    (world.root("n2") / path).unlink()
    ran = world.cli("fs-check", "uk", "--node", "n2", "--verbose", "--json")
    assert ran.code == 1
    assert ran.json["uk n2"]["findings"] == {"acked_absent": 1}
    assert ran.json["uk n2"]["samples"] == {"acked_absent": [path.removeprefix("uk/")]}
    other = "0" if path[3] != "0" else "1"
    ran = world.cli("fs-check", "uk", "--node", "n2", "--part", other, "--scrub", "10", "--json")
    assert (ran.code, ran.json["uk n2"]["part"]) == (0, f"{other}0-{other}f")
    assert ran.json["uk n2 scrub"]["files"] in (9, 10)  # the one that is gone cannot be read
    assert world.cli("fs-check", "uk", "--node", "n2", "--today").code == 1
    assert world.cli("db-scan", "uk").code == 0
    world.sql("DELETE FROM lis_live_images LIMIT 2")
    ran = world.cli("db-scan", "uk", "--json")
    assert (ran.code, ran.json) == (1, {"uk live table": {"findings": {"not_published": 2}, "ok": False}})
    world.sandbox.nodes.stop_node("n1")
    ran = world.cli("fs-check", "uk", "--node", "n1")
    assert (ran.code, "start sshd on n1" in ran.out) == (1, True)


def test_classify_takes_several_images_names_unknown_ones_and_can_be_taken_back(world: World, live: Entries) -> None:
    first, second, other = (lis_hash_for_url(url) for url in list(live)[:3])

    def classes() -> dict[str, tuple[int, str]]:
        return {row.image_hash: (row.human_classified, row.image_class) for row in world.live().values()}

    before = classes()
    assert {said for said, _ in before.values()} == {0}
    call = ("classify", "uk", "--as", "kitchen", first, "0" * 40, "caf\u00e9", second)
    ran = world.cli(*call, "--dry-run", "--json")
    assert (ran.code, ran.json, classes()) == (1, {"images": 2, "unknown": ["0" * 40, "caf\u00e9"]}, before)
    assert world.cli(*call).code == 1
    assert classes() == {**before, first: (1, "kitchen"), second: (1, "kitchen")}
    world.patch.setattr(sys, "stdin", io.StringIO(f"{second}\n{other}\n"))
    undone = world.cli("classify", "uk", "--undo", "-", "--json")
    assert (undone.code, undone.json) == (0, {"images": 1, "unknown": []})  # the other had no person's word
    assert classes() == {**before, first: (1, "kitchen")}
    assert world.cli("classify", "uk", "--undo", first).code == 0
    assert classes() == before


def test_purge_that_refuses_ends_with_1(world: World, live: Entries) -> None:
    world.sandbox.etl.halve("uk")
    ran = world.cli("purge", "uk")
    assert ran.code == 1
    assert "looks half loaded" in ran.out


def test_db_upgrade_may_be_said_twice_and_tried_without_a_change(world: World) -> None:
    newest = [(name, head_version(kind)) for name, kind in (("uk", "country"), ("shared", "shared"))]
    world.sql("DROP TABLE alembic_version")
    assert world.cli("db", "upgrade", "uk", "--dry-run", "--json").json == {
        f"imagesys_{name}": {"before": None if name == "uk" else version, "after": version} for name, version in newest
    }
    assert world.cli("db", "upgrade", "uk", "--dry-run").out.startswith("imagesys_uk: empty -> ")
    assert world.cli("db", "upgrade", "uk").out.startswith("imagesys_uk: empty -> ")
    assert world.cli("db", "upgrade", "uk").out.splitlines() == [
        f"imagesys_{name}: {version} -> {version}" for name, version in newest
    ]


@pytest.mark.parametrize(
    ("country", "days", "instants"),
    [
        ("uk", ("2026-03-28", "2026-03-30"), ["2026-03-28T00:00:00+00:00", "2026-03-30T00:00:00+01:00"]),
        ("br", ("2026-03-01", "2026-03-01"), ["2026-03-01T00:00:00-03:00", "2026-03-01T00:00:00-03:00"]),
        ("in", ("2026-03-01", "2026-03-02"), ["2026-03-01T00:00:00+05:30", "2026-03-02T00:00:00+05:30"]),
    ],
)
def test_a_backfill_asks_airflow_for_the_midnights_of_its_local_days(
    world: World, country: str, days: tuple[str, str], instants: list[str]
) -> None:
    command = backfill_command(country, *days, force=True, reprocess="completed", dry_run=True)
    assert command[1:5] == ["backfill", "create", "--dag-id", f"imagesys_{country}"]
    options = dict(zip(command[5::2], command[6::2], strict=False))
    assert [options["--from-date"], options["--to-date"]] == instants
    assert (options["--reprocess-behavior"], json.loads(options["--dag-run-conf"])) == ("completed", {"force": True})
    assert command[-1] == "--dry-run"
    assert "--run-backwards" not in command
    settings = {"force": False, "reprocess": "none", "dry_run": False}
    assert backfill_command(country, *days, backwards=True, **settings)[-1] == "--run-backwards"
    with pytest.raises(UsageError):
        backfill_command(country, *days, force=False, reprocess="sometimes", dry_run=False)


@pytest.mark.parametrize(
    ("force", "asked", "given"),
    [(True, None, "completed"), (False, None, "none"), (True, "failed", "failed"), (False, "completed", "completed")],
)
def test_force_implies_that_days_which_have_run_are_done_again(
    world: World, force: bool, asked: str | None, given: str
) -> None:
    command = backfill_command("uk", "2026-03-01", "2026-03-02", force=force, reprocess=asked, dry_run=False)
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--reprocess-behavior"] == given
    assert json.loads(options["--dag-run-conf"]) == {"force": force}  # a run that was forced once is so no longer


def test_logs_go_to_one_file_a_component_and_errors_to_their_own(world: World, live: Entries) -> None:
    folder = world.sandbox.settings.base / "own-logs"
    world.patch.setenv("IMAGESYS_LOGS", str(folder))
    world.sandbox.nodes.stop_node("n1")
    world.cli("heal", "uk")
    assert (folder / "heal.log").read_text().count("UK: healed") == 1
    world.patch.setenv("IMAGESYS_LOGS", "/proc/nowhere")
    assert world.cli("heal", "uk").code == 0  # a log directory that cannot be written stops nothing
    for file in folder.iterdir():
        file.unlink()
