"""`make demo`: everything on loopback, one country through the real scheduler, and a report that a person understands.

Everything stays running afterwards; `make down` stops it. A second call works on what is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from include.sandbox.environment import due_day
from include.sandbox.errors import SandboxError
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.sandbox import EXAMPLE_SERVICES, Sandbox
from include.sandbox.services.airflow import USER, AirflowServices
from include.sandbox.services.airflow_api import AirflowApi
from include.sandbox.settings import PROJECT, SandboxSettings, write_atomically

COUNTRY = "uk"
TIME_ZONE = "Europe/London"
DAG_ID = f"imagesys_{COUNTRY}"
BACKFILL_DAYS = 3
CONFIG = {"batch": {"size": 100}}  # small, so that a demo of 500 photos shows batches flowing
RUN_SECONDS = 1800
EXIT_WORK_LOST, EXIT_ENVIRONMENT = 1, 3

_STAGES = ("heal", "ingest", "plan", "download", "thumbnail", "sync", "publish", "purge", "check", "repair", "report")

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Figures:
    """What the database and the mail directory say at one moment."""

    states: dict[str, int]
    reasons: dict[str, dict[str, int]]
    live: int
    mails: int

    @property
    def fetched(self) -> int:
        """Images whose download is behind them, one way or the other."""
        return sum(self.states.values()) - self.states.get("new", 0) - self.states.get("reserved", 0)


def main() -> int:
    """Run the demo; 0 only if the run ended well."""
    began = time.monotonic()
    try:
        images = _images_wanted()
        sandbox = Sandbox(SandboxSettings.from_environment())
        airflow = sandbox.airflow
        _start(sandbox, airflow, images)
        before = figures(sandbox)
        api = airflow.api()
        run_id = _begin_run(api)
        state = _watch(sandbox, api, run_id)
    except SandboxError as error:
        console.print(f"demo: {error}", style="red", markup=False)
        return EXIT_ENVIRONMENT
    report = {
        "run_id": run_id,
        "run_state": state,
        "seconds": round(time.monotonic() - began, 1),
        **_report(sandbox, airflow, before),
    }
    path = PROJECT / ".local" / "demo" / "report.json"
    write_atomically(path, json.dumps(report, indent=2) + "\n")
    _show(report, path, airflow)
    return 0 if state == "success" else EXIT_WORK_LOST


def _images_wanted() -> int:
    text = os.environ.get("DEMO_IMAGES") or "500"
    if not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise SandboxError(f"DEMO_IMAGES must be a number from 1 to 100000, not {text!r}")
    return int(text)


def past_days(last_day: date) -> list[date]:
    """Days for a backfill to bring: beyond the look-back of the daily run."""
    return [last_day - timedelta(days=9 - n) for n in range(BACKFILL_DAYS)]


def _start(sandbox: Sandbox, airflow: AirflowServices, images: int) -> None:
    console.print(f"ImageSys demo: {images} photos of country {COUNTRY}, everything on loopback.", markup=False)
    last_day = due_day(TIME_ZONE)
    sandbox.start(
        images,
        country=COUNTRY,
        time_zone=TIME_ZONE,
        last_day=last_day,
        past_days=past_days(last_day),
        progress=_photo_progress,
        say=_say,
        config=CONFIG,
    )
    _say("migrating the database schemas")
    _imagesys(sandbox, "db", "upgrade")
    sandbox.start(services=EXAMPLE_SERVICES, config=CONFIG, say=_say)
    airflow.start(say=_say)


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False)


def _photo_progress(done: int, total: int) -> None:
    if console.is_terminal:
        console.print(f"  photos ready: {done} of {total}", end="\r" if done < total else "\n", markup=False)
    elif done == total or done % 250 == 0:
        _say(f"photos ready: {done} of {total}")


def _imagesys(sandbox: Sandbox, *arguments: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("imagesys")), *arguments],
        env={**os.environ, **sandbox.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SandboxError(f"`imagesys {' '.join(arguments)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _begin_run(api: AirflowApi) -> str:
    """Unpause the DAG and return the run to follow.

    Unpausing makes Airflow schedule the last day that is due at once, if that has not run; else one is triggered.
    """
    api.wait_for_dag(DAG_ID)
    api.unpause(DAG_ID)
    due = due_day(TIME_ZONE)
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        runs = api.runs(DAG_ID)
        scheduled = [run for run in runs if run["run_type"] == "scheduled" and _local_day(run) == due]
        if scheduled and scheduled[0]["state"] in ("queued", "running"):
            return str(scheduled[0]["dag_run_id"])
        if scheduled:
            break  # it has run already: this is a further demo of the same day
        time.sleep(1)
    return api.trigger(DAG_ID)


def _local_day(run: dict[str, Any]) -> date | None:
    text = run.get("data_interval_start")
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(ZoneInfo(TIME_ZONE)).date() if text else None


def _watch(sandbox: Sandbox, api: AirflowApi, run_id: str) -> str:
    """Tell how the run goes until it has ended; returns its state."""
    _say(f"run {run_id} of {DAG_ID} is under way")
    began = time.monotonic()
    fetched_before = figures(sandbox).fetched
    last = ""
    while time.monotonic() - began < RUN_SECONDS:
        state = str(api.run(DAG_ID, run_id)["state"])
        tasks = api.task_instances(DAG_ID, run_id)
        now = figures(sandbox)
        rate = (now.fetched - fetched_before) / max(1.0, time.monotonic() - began)
        line = f"{_stages(tasks)}; {now.states.get('live', 0)} live, {rate:.0f} images/s, {now.mails} mails"
        if line != last:
            console.print(f"  {time.monotonic() - began:5.0f} s  {line}", markup=False)
            last = line
        if state in ("success", "failed"):
            return state
        time.sleep(2)
    raise SandboxError(f"run {run_id} has not ended after {RUN_SECONDS} s: look at it in the UI, {api.url}")


def _stages(tasks: list[dict[str, Any]]) -> str:
    """Return what is running and, where batches are mapped, how many of them are done."""
    running = sorted({_stage(task) for task in tasks if task["state"] == "running"}, key=_order)
    batches = [task for task in tasks if _stage(task) == "thumbnail" and task["map_index"] >= 0]
    done = sum(task["state"] == "success" for task in batches)
    failed = sorted({_stage(task) for task in tasks if task["state"] in ("failed", "upstream_failed")}, key=_order)
    parts = [", ".join(running) or "between tasks"]
    parts += [f"batches {done}/{len(batches)}"] if batches else []
    parts += [f"FAILED: {', '.join(failed)}"] if failed else []
    return "; ".join(parts)


def _stage(task: dict[str, Any]) -> str:
    return str(task["task_id"]).rpartition(".")[2]


def _order(stage: str) -> int:
    return _STAGES.index(stage) if stage in _STAGES else len(_STAGES)


def figures(sandbox: Sandbox) -> Figures:
    """Read the demo's figures; all zero before the first run."""
    with sandbox.mariadb.connect("imagesys", f"imagesys_{COUNTRY}") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT state, reason, COUNT(*) FROM lis_images GROUP BY state, reason")
        states: dict[str, int] = {}
        reasons: dict[str, dict[str, int]] = {}
        for state, reason, count in cursor.fetchall():
            states[state] = states.get(state, 0) + count
            if state in ("failed", "rejected", "quarantined"):
                reasons.setdefault(state, {})[reason] = count
        cursor.execute("SELECT COUNT(*) FROM lis_live_images")
        live = int(cursor.fetchone()[0])
    return Figures(states, reasons, live, len(sandbox.mail.files()))


def _report(sandbox: Sandbox, airflow: AirflowServices, before: Figures) -> dict[str, Any]:
    """Return the contract's report. `images.new` is what this run took on; the rest is the country as it stands."""
    now = figures(sandbox)
    taken_on = sum(now.states.values()) - sum(before.states.values())
    return {
        "images": {
            "new": taken_on,
            "live": now.live,
            "failed": now.reasons.get("failed", {}),
            "rejected": now.reasons.get("rejected", {}),
            **({"quarantined": now.reasons["quarantined"]} if "quarantined" in now.reasons else {}),
        },
        "nodes": {name: _node(sandbox, name) for name in NODE_NAMES},
        "dashboard_url": f"{airflow.url}/plugin/imagesys",
        "website_url": sandbox.web.url,
        "airflow_url": airflow.url,
        "user": USER,
        "password_file": str(airflow.password_file),
        "mail_dir": str(sandbox.mail.directory),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _node(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """Count what lies on a node by walking its tree, and take `missing` from its newest check."""
    root = sandbox.nodes[name].root
    sizes = [path.stat().st_size for path in _files(root)]
    with sandbox.mariadb.connect("imagesys", f"imagesys_{COUNTRY}") as connection, connection.cursor() as cursor:
        query = (
            "SELECT findings FROM lis_node_checks WHERE node = %s AND kind <> 'scrub' ORDER BY check_id DESC LIMIT 1"
        )
        cursor.execute(query, (name,))
        row = cursor.fetchone()
    found = json.loads(row[0]) if row else {}
    missing = found.get("missing", 0) + found.get("acked_absent", 0) if row else None
    return {"root": str(root), "files": len(sizes), "bytes": sum(sizes), "missing": missing}


def _files(root: Path) -> Iterator[Path]:
    for path in (root / COUNTRY).rglob("*"):
        if path.is_file():
            yield path


def _show(report: dict[str, Any], path: Path, airflow: AirflowServices) -> None:
    images, nodes = report["images"], report["nodes"]
    table = Table("what", "figure", title=f"Run {report['run_id']}: {report['run_state']}", title_justify="left")
    table.add_row("seconds in all", str(report["seconds"]))
    table.add_row("images taken on by this run", str(images["new"]))
    table.add_row("images live on the website", str(images["live"]))
    for fate, meaning in (("failed", "to be tried again"), ("rejected", "broken at their source")):
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(images[fate].items()))
        table.add_row(f"{fate}, {meaning}", reasons or "none")
    for name, node in nodes.items():
        table.add_row(f"files on {name}", f"{node['files']} ({node['bytes'] / 1e6:.1f} MB), {node['missing']} missing")
    console.print()
    console.print(table)
    days = past_days(due_day(TIME_ZONE))
    console.print(
        f"""
Report   {path}
Airflow  {report["airflow_url"]}/dags/{DAG_ID}/runs/{report["run_id"]}
         user {report["user"]}, password {airflow.password}
Pages    {report["dashboard_url"]} (the dashboard, with the same log-in)
Website  {report["website_url"]} (an example, which shows what is live)
Mails    {report["mail_dir"]}

Try next (first: eval "$(.local/venv/bin/python -m include.sandbox env)"; export PATH="$PWD/.local/venv/bin:$PATH")
  clear a task    in the UI: open the run, choose process.thumbnail of a batch, Clear (Shift+C), with downstream
  ask why         imagesys explain URL; imagesys status; imagesys doctor
  backfill        imagesys backfill {COUNTRY} {days[0]} {days[-1]}
  stop a node     python -m include.sandbox stop n2; trigger {DAG_ID}: red, and its mail names n2;
                  the website takes its pictures from the other nodes
                  python -m include.sandbox start n2; clear sync of n2: green
  test the path   imagesys canary {COUNTRY}; or unpause imagesys_canary, which does so every hour
  stop it all     make down""",
        markup=False,
    )


if __name__ == "__main__":
    sys.exit(main())
