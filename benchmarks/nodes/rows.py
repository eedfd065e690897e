"""Rows of images by the million, as the stages leave them: waiting for their nodes, or live and acknowledged by all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from imagesys_lib.db.engine import chunks
from include.sandbox.nodes_and_ports import NODE_NAMES

from .trees import Image

_IMAGE = """
    INSERT INTO lis_images (image_hash, image_url, datasource_id, etl_version, state, next_attempt_at, desired,
        change_id, source_sha1, source_bytes, thumbs, recipe, created_at, updated_at)
    VALUES (%s, %s, 101, UTC_TIMESTAMP(6), %s, UTC_TIMESTAMP(6), 'present', %s, %s, 250000, %s, '0123456789abcdef',
        UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))"""
_CHANGE = "INSERT INTO lis_changes (created_at) VALUES (UTC_TIMESTAMP(6) - INTERVAL %s DAY)"
_MARK = "INSERT INTO lis_node_repairs (node, image_hash, reason, since) VALUES (%s, %s, 'missing', UTC_TIMESTAMP(6))"


def put_live(connection: Any, images: Iterable[Image]) -> None:
    """Add images that are live, with changes that every node has acknowledged long ago."""
    _put(connection, images, "live", days_ago=30)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lis_changes SET settled_at = created_at WHERE settled_at IS NULL")
        for node in NODE_NAMES:
            cursor.execute(
                "INSERT IGNORE INTO lis_change_acks (change_id, node, acked_at) "
                "SELECT change_id, %s, created_at FROM lis_changes",
                (node,),
            )
    connection.commit()


def put_waiting(connection: Any, images: Iterable[Image]) -> None:
    """Add images whose thumbnails have just been made: staged, recorded in the change log, and on no node."""
    _put(connection, images, "thumbnailed", days_ago=0)


def _put(connection: Any, images: Iterable[Image], state: str, *, days_ago: int) -> None:
    with connection.cursor() as cursor:
        for some in chunks(images):
            cursor.execute(_CHANGE, (days_ago,))
            change = cursor.lastrowid
            rows = [
                (image.image_hash, image.url, state, change, image.image_hash, json.dumps(image.thumbs))
                for image in some
            ]
            cursor.executemany(_IMAGE, rows)
            connection.commit()
        cursor.execute("ANALYZE TABLE lis_images")
        cursor.fetchall()


def mark_missing(connection: Any, node: str, images: Sequence[Image]) -> None:
    """Mark all of these as missing on a node, as a check does that finds it empty."""
    with connection.cursor() as cursor:
        for some in chunks(images):
            cursor.executemany(_MARK, [(node, image.image_hash) for image in some])
            connection.commit()


def empty(connection: Any) -> None:
    """Forget everything that the schema knows."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE 'lis\\_%'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"TRUNCATE TABLE `{table}`")
