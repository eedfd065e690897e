"""What of a country is open now: nodes, incidents, mails, proposals."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.context import Context
from imagesys_lib.dashboard import run_tables
from imagesys_lib.dashboard.addresses import PROPOSALS_DAG, dag_of, run_link
from imagesys_lib.dashboard.tables import Cell, Column, Entry, Kind, Table, Tone
from imagesys_lib.db.engine import Row, read
from imagesys_lib.db.schema import lis_incidents, lis_mails, lis_nodes, lis_purge_proposals
from imagesys_lib.runs import runs
from imagesys_lib.stages.report import Summary, kept

_MOST_OPEN, _MOST_OVER = 100, 10


def tables(ctx: Context) -> tuple[Table, ...]:
    """Return them all; each reads some hundred rows at most."""
    return (nodes_table(ctx), _incidents(ctx), _mails(ctx.db), _proposals(ctx.db))


def nodes_table(ctx: Context) -> Table:
    """Return the nodes as the last report had them, each with the fault that its last sync met."""
    row = runs.latest_ended(ctx.db)
    summary = kept(row) if row else None
    if summary is None:
        return Table("nodes", "Nodes and disks", (Column("node", "Node"),), (), empty="No run has had its report yet.")
    return run_tables.nodes_table(ctx, _with_faults(ctx.db, summary))


def _with_faults(db: Engine, summary: Summary) -> Summary:
    faults = {row.node: row.fault for row in read(db, sa.select(lis_nodes.c.node, lis_nodes.c.fault))}
    nodes = {name: replace(node, fault=faults.get(name)) for name, node in summary.nodes.items()}
    return replace(summary, nodes=nodes)


def _incidents(ctx: Context) -> Table:
    columns = (
        Column("state", "State"),
        Column("kind", "Kind"),
        Column("subject", "About"),
        Column("opened_at", "Opened", Kind.TIME),
        Column("last_seen_at", "Last seen", Kind.TIME),
        Column("resolved_at", "Resolved", Kind.TIME),
        Column("runs", "Waits for", Kind.CODE, wide=True),
    )
    c = lis_incidents.c
    opened = sa.select(lis_incidents).where(c.is_open == 1).order_by(c.kind, c.subject).limit(_MOST_OPEN)
    over = sa.select(lis_incidents).where(c.resolved_at.is_not(None)).order_by(c.resolved_at.desc()).limit(_MOST_OVER)
    rows = tuple(_incident(ctx.country, row) for query in (opened, over) for row in read(ctx.db, query))
    return Table(
        "incidents",
        "Incidents",
        columns,
        rows,
        empty="None is open.",
        note=f"Open ones, and the last {_MOST_OVER} that are over.",
    )


def _incident(country: str, row: Row) -> tuple[Entry, ...]:
    state = Cell("open", tone=Tone.BAD) if row.is_open else Cell("resolved", tone=Tone.GOOD)
    waits_for = Cell(parts=tuple(_awaited(country, key) for key in row.runs))
    return state, row.kind, row.subject, row.opened_at, row.last_seen_at, row.resolved_at, waits_for


def _awaited(country: str, key: str) -> Cell:
    """Return a run that an incident waits for, kept as its DAG and its id: ours is shown here, another by Airflow."""
    dag_id, _, run_id = key.partition(" ")
    return Cell(key, run_id, run_link(dag_id, run_id), airflow=dag_id != dag_of(country))


def _mails(db: Engine) -> Table:
    columns = (
        Column("subject", "Subject", wide=True),
        Column("created_at", "Written", Kind.TIME),
        Column("attempts", "Attempts", Kind.NUMBER),
        Column("refused", "Refused for", wide=True),
    )
    c = lis_mails.c
    query = sa.select(c.subject, c.created_at, c.attempts, c.refused)
    query = query.where(c.sent_at.is_(None), c.given_up_at.is_(None)).order_by(c.mail_id).limit(_MOST_OPEN)
    rows = tuple(
        (
            row.subject,
            row.created_at,
            row.attempts,
            "; ".join(f"{who}: {why}" for who, why in (row.refused or {}).items()),
        )
        for row in read(db, query)
    )
    return Table("mails", "Mails that wait to be sent", columns, rows, empty="All are sent.")


def _proposals(db: Engine) -> Table:
    columns = (
        Column("proposal", "Proposal", Kind.NUMBER),
        Column("state", "State"),
        Column("due", "Images due", Kind.NUMBER),
        Column("live", "Live then", Kind.NUMBER),
        Column("created_at", "Made", Kind.TIME),
        Column("decided_by", "Decided by"),
    )
    p = lis_purge_proposals.c
    query = sa.select(lis_purge_proposals).order_by(p.proposal_id.desc()).limit(_MOST_OVER)
    return Table(
        "proposals", "Purge proposals", columns, tuple(map(_proposal, read(db, query))), empty="None was made."
    )


def _proposal(row: Row) -> tuple[Entry, ...]:
    waits = row.state == "open"
    return (
        Cell(row.proposal_id, link=f"dags/{PROPOSALS_DAG}", airflow=True),
        Cell(row.state, "waits for an answer" if waits else row.state, tone=Tone.WARN if waits else Tone.NONE),
        sum(count["due"] for count in row.rules.values()),
        row.live,
        row.created_at,
        row.decided_by,
    )
