"""Every mail that the code can send has its row in docs/alerts.md, and its page in docs/runbook.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from include.sandbox.settings import PROJECT
from tests.support.world import World

ALERTS = (PROJECT / "docs" / "alerts.md").read_text(encoding="utf-8")
RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")

ROWS = {
    "is late": "run of DAY is late",
    "missed its deadline": "run of DAY missed its deadline",
    "waits for a date in the future": "run of DAY waits for a date in the future",
    "failed": "run of DAY failed",
    "has ended well": "has ended well",
    "… … of … logged messages": "logged messages",
    "… logged messages": "logged messages",
    "… data source … fails and is left alone": "data source N fails and is left alone",
    "… data source … works again": "data source N works again",
    "… canary failed": "canary failed",
    "… canary comes through again": "canary comes through again",
    "Canaries cannot run": "Canaries cannot run",
    "Canaries run again": "Canaries run again",
    "The configuration is to be mended": "The configuration is to be mended",
    "The configuration is well again": "The configuration is well again",
    "Maintenance failed": "Maintenance failed",
    "Maintenance works again": "Maintenance works again",
    "Purge approval failed": "Purge approval failed",
    "Purge approval works again": "Purge approval works again",
    "Daily report failed": "Daily report failed",
    "Daily report works again": "Daily report works again",
    "Daily report: … countries,": "Daily report",
    "Mail to … is refused": "Mail to ADDRESS is refused",
    "Mail to … is taken again": "Mail to ADDRESS is taken again",
    "…": "COUNTRY: purge N of M live images",  # the question itself
}
"""Subjects as the code has them, without the product's name, and what docs/alerts.md calls them."""

SERVICES = ("… failed", "… works again")
"""Of a DAG that serves all countries, by its name."""


def subjects() -> set[str]:
    """Every subject in the code; what is filled in is a dot."""
    found: set[str] = set()
    names: set[str] = set()
    for path in [*(PROJECT / "plugins").rglob("*.py"), *(PROJECT / "imagesys_lib").rglob("*.py")]:
        for call in calls(path):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name in ("Message", "TableMail"):
                given = [keyword.value for keyword in call.keywords if keyword.arg == "subject"] or call.args[:1]
                found |= {text for value in given for text in templates(value)}
            elif name == "notify_failed_run":
                names |= {value.value for value in call.args if isinstance(value, ast.Constant)}
    names = {name for name in names if isinstance(name, str)}
    return found - {*SERVICES} | {each.replace("…", name) for each in SERVICES if each in found for name in names}


def calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def templates(value: ast.expr) -> set[str]:
    """A subject's text; of ``facts.title(...)``, and where one of two is chosen, each that it may be."""
    if isinstance(value, ast.Constant):
        texts = {str(value.value)}
    elif isinstance(value, ast.JoinedStr):
        texts = {"".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in value.values)}
    elif isinstance(value, ast.IfExp):
        texts = templates(value.body) | templates(value.orelse)
    elif isinstance(value, ast.Call):
        texts = {text for argument in value.args for text in templates(argument)}
    elif isinstance(value, ast.BinOp):
        texts = templates(value.left)
    else:
        pytest.fail(f"no subject that this test can read: {ast.unparse(value)}")
    return {text.removeprefix("[ImageSys] ").strip() for text in texts}


def table() -> dict[str, str]:
    """The rows of docs/alerts.md with the page that each names."""
    rows = {}
    for line in ALERTS.splitlines():
        if line.startswith("| *"):
            reported, _, over, page = [cell.strip() for cell in line.strip("|").split("|")]
            rows |= dict.fromkeys(re.findall(r"\*(.+?)\*", f"{reported} {over}"), page)
    return rows


def pages() -> set[str]:
    """The anchors of the runbook."""
    headings = re.findall(r"^##? (.+)$", RUNBOOK, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_mail_has_its_row_and_its_page() -> None:
    assert subjects() == ROWS.keys()
    rows = table()
    assert set(ROWS.values()) <= rows.keys()
    for row, cell in rows.items():
        linked = re.fullmatch(r"\[[^]]+\]\(runbook\.md#([a-z0-9-]+)\)", cell)
        assert linked, f"{row}: {cell}"
        assert linked[1] in pages(), row


def test_the_statements_of_the_page_show_what_is_wrong_and_what_waits(world: World) -> None:
    world.sql(
        "INSERT INTO lis_incidents (kind, subject, is_open, runs, opened_at, last_seen_at) "
        "VALUES ('failed', 'dag r1', 1, '[]', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))"
    )
    world.sql("INSERT INTO lis_mails (subject, text, html, created_at) VALUES ('reported', '', '', UTC_TIMESTAMP(6))")
    (block,) = re.findall(r"```sql\n(.*?)```", ALERTS, re.DOTALL)
    seen = [world.rows(sa.text(line.partition(";")[0])) for line in block.splitlines()]
    assert [[row.subject for row in rows] for rows in seen] == [["dag r1"], ["reported"]]
