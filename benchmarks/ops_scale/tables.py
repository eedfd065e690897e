"""Tables of so many images as years of runs leave them, and one day's work on top of them, made by the server itself.

`lis_live_images` and `lis_listing_images` stay empty: heal and report read neither, and plan asks for nothing again.
"""

from __future__ import annotations

import json
from typing import Any

from include.sandbox.nodes_and_ports import NODE_NAMES

_STEP = 20_000
_BACK_OFF_MINUTES = 7 * 24 * 60
_THUMBS = json.dumps(
    [
        {"n": n, "path": f"uk/0/1/2/{'3' * 37}.{n}.jpg", "width": 160, "height": 120, "bytes": size, "sha1": "4" * 40}
        for n, size in ((1, 1800), (2, 5200))
    ]
)
_COLUMNS = """image_hash, image_url, datasource_id, etl_version, state, reason, attempts, next_attempt_at, batch_id,
    desired, change_id, source_sha1, source_bytes, thumbs, recipe, created_at, updated_at"""

# 93 % live, 3 % rejected, 2 % failed, 2 % purged long ago; batches, and changes, of a thousand. What failed is due at
# any time of the week that a back-off lasts at most, but not while the benchmark runs: what is due is the day's work.
_OLD = f"""
    INSERT INTO lis_images ({_COLUMNS})
    SELECT SHA1(seq), CONCAT('https://photos.example.com/', seq, '.jpg'), MOD(seq, 50), @then,
        ELT(@kind := IF(MOD(seq, 100) < 93, 1, IF(MOD(seq, 100) < 96, 2, IF(MOD(seq, 100) < 98, 3, 4))),
            'live', 'rejected', 'failed', 'purged'),
        ELT(@kind, NULL, 'http_404', 'timeout', NULL), 1,
        ELT(@kind, @then, @then, @soon + INTERVAL MOD(seq DIV 100 * 37, {_BACK_OFF_MINUTES}) MINUTE, '9999-12-31'),
        seq DIV 1000 + 1, ELT(@kind, 'present', 'none', 'none', 'absent'), IF(@kind IN (1, 4), seq DIV 1000 + 1, NULL),
        IF(@kind IN (1, 4), SHA1(seq), NULL), IF(@kind IN (1, 4), 250000, NULL), IF(@kind IN (1, 4), %s, NULL),
        '0123456789abcdef', @then, @then
    FROM seq_{{first}}_to_{{last}}"""  # noqa: S608


def size_server(connection: Any) -> None:
    """Give the server the memory and the log of one that is made for such tables; the sandbox's is made for small ones.

    Else filling the largest table, whose key is random, reads and writes nearly every page once a row.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_buffer_pool_size = 5 * 1024 * 1024 * 1024")
        cursor.execute("SET GLOBAL innodb_log_file_size = 1024 * 1024 * 1024")


def fill(connection: Any, images: int) -> None:
    """Make the tables of a country, for an empty schema."""
    with connection.cursor() as cursor:
        cursor.execute("SET @then = UTC_TIMESTAMP(6) - INTERVAL 5 DAY, @soon = UTC_TIMESTAMP(6) + INTERVAL 2 HOUR")
        for first in range(1, images + 1, _STEP):
            cursor.execute(_OLD.format(first=first, last=min(images, first + _STEP - 1)), (_THUMBS,))
            connection.commit()
        thousands = f"seq_1_to_{images // 1000 + 1}"
        cursor.execute(
            f"""INSERT INTO lis_batches (batch_id, run_id, seq, size, state, created_at, updated_at)
            SELECT seq, CONCAT('old-', seq DIV 50), MOD(seq, 50), 1000, 'done', @then, @then FROM {thousands}"""  # noqa: S608
        )
        cursor.execute(
            f"INSERT INTO lis_changes (change_id, created_at, settled_at) SELECT seq, @then, @then FROM {thousands}"  # noqa: S608
        )
        for node in NODE_NAMES:
            cursor.execute("INSERT INTO lis_change_acks SELECT change_id, %s, created_at FROM lis_changes", (node,))
        cursor.execute(
            """INSERT INTO lis_runs (run_id, kind, interval_start, interval_end, state, started_at, finished_at)
            SELECT CONCAT('run-', seq), 'scheduled', @then, @then, 'success', @then - INTERVAL seq DAY, @then
            FROM seq_1_to_60"""
        )
        names = ("images", "batches", "lost", "state.live", "state.failed", "free.staging", "free.n1", "backlog.n1")
        for name in names:
            cursor.execute(
                "INSERT INTO lis_metrics SELECT run_id, %s, 10000, started_at FROM lis_runs",
                (name,),
            )
        connection.commit()
        for table in ("lis_images", "lis_batches", "lis_changes", "lis_change_acks", "lis_runs", "lis_metrics"):
            cursor.execute(f"ANALYZE TABLE {table}")
            cursor.fetchall()


def rows_read(connection: Any) -> int:
    """Return how many index entries and rows the server has read since it started; nobody else is at work there."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in cursor.fetchall())


def put_day(connection: Any, images: int) -> None:
    """Add a day: new images, and a batch of a thousand that its run has given up."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO lis_runs (run_id, kind, interval_start, interval_end, state, started_at, finished_at)
            VALUES ('given-up', 'manual', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), 'failed', UTC_TIMESTAMP(6),
                UTC_TIMESTAMP(6))"""
        )
        cursor.execute(
            """INSERT INTO lis_batches (run_id, seq, size, state, created_at, updated_at)
            VALUES ('given-up', 0, 1000, 'planned', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))"""
        )
        given_up = cursor.lastrowid
        for state, batch, first, last in (("new", None, 1, images), ("reserved", given_up, images + 1, images + 1000)):
            cursor.execute(
                f"""INSERT INTO lis_images ({_COLUMNS})
                SELECT SHA1(CONCAT('day', seq)), CONCAT('https://photos.example.com/day/', seq, '.jpg'), MOD(seq, 50),
                    UTC_TIMESTAMP(6), %s, NULL, 0, UTC_TIMESTAMP(6), %s, 'none', NULL, NULL, NULL, NULL, NULL,
                    UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)
                FROM seq_{first}_to_{last}""",  # noqa: S608
                (state, batch),
            )
    connection.commit()


def work_off(connection: Any, run_id: str) -> None:
    """Leave the run's images as download, thumbnail, sync and publish do: 93 % live; one node has not applied them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT batch_id FROM lis_batches WHERE run_id = %s", (run_id,))
        for (batch,) in cursor.fetchall():
            cursor.execute("INSERT INTO lis_changes (created_at) VALUES (UTC_TIMESTAMP(6))")
            change = cursor.lastrowid
            for node in NODE_NAMES[:-1]:
                cursor.execute("INSERT INTO lis_change_acks VALUES (%s, %s, UTC_TIMESTAMP(6))", (change, node))
            cursor.execute(
                """UPDATE lis_images SET state = 'live', desired = 'present', change_id = %s, source_bytes = 250000,
                    thumbs = %s WHERE batch_id = %s AND MOD(image_id, 100) < 93""",
                (change, _THUMBS, batch),
            )
            cursor.execute(
                """UPDATE lis_images SET state = 'rejected',
                    reason = ELT(MOD(image_id, 3) + 1, 'http_404', 'dns', 'tls')
                WHERE batch_id = %s AND state = 'reserved'""",
                (batch,),
            )
            cursor.execute("UPDATE lis_batches SET state = 'done' WHERE batch_id = %s", (batch,))
            connection.commit()


def forget_day(connection: Any, images: int) -> None:
    """Take the day away again, so that the table is as large as before."""
    thousands = images // 1000 + 1
    with connection.cursor() as cursor:
        for statement in (
            "DELETE FROM lis_images WHERE image_url LIKE 'https://photos.example.com/day/%%' AND image_id > %s",
            "DELETE FROM lis_batches WHERE batch_id > %s",
            "DELETE FROM lis_changes WHERE change_id > %s",
            "DELETE FROM lis_change_acks WHERE change_id > %s",
        ):
            cursor.execute(statement, (images if "lis_images" in statement else thousands,))
        for table in ("lis_runs", "lis_metrics"):
            cursor.execute(f"DELETE FROM {table} WHERE run_id NOT LIKE 'run-%'")  # noqa: S608
    connection.commit()
