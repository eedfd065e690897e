"""Names and pure decisions: hashes and paths, photo columns, reasons, retries, sizes of batches, caps, verdicts."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest

from imagesys_lib.config import Batching, Purge, Retry, StatusMeaning
from imagesys_lib.config.hostnames import host_of
from imagesys_lib.config.intervals import UTC, Interval
from imagesys_lib.etl.photo_urls import split_photo_urls
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash, parse_thumbnail_path, thumbnail_path
from imagesys_lib.images.reasons import REASONS, Fate, ImageFault, as_markdown, reason_for
from imagesys_lib.nodes import fault_reason, parse_space
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.download.download import tries_again, with_meaning
from imagesys_lib.stages.ingest import window
from imagesys_lib.stages.plan import batch_size
from imagesys_lib.stages.purge.rules import live_needed, shard_of, too_many_missing
from imagesys_lib.stages.report import NodeState, Summary, losses, render
from imagesys_lib.stages.shared.batch import retry_delay_hours
from tests.support.summaries import a_summary

HASH = "0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4"


@pytest.mark.parametrize(
    "url",
    ["http://a.example/1.jpg", "http://a.example/größe und mehr.jpg", "http://a.example/%3Fx=1", "x" * 4096, "", "☃"],
)
def test_a_hash_is_the_sha1_of_the_urls_bytes_and_its_path_leads_back_to_it(url: str) -> None:
    image_hash = lis_hash_for_url(url)
    assert image_hash == hashlib.sha1(url.encode("utf-8"), usedforsecurity=False).hexdigest()
    path = lis_path_for_hash(image_hash)
    assert path == f"{image_hash[0]}/{image_hash[1]}/{image_hash[2]}/{image_hash[3:]}"
    for number in (1, 2, 9):
        below_root = thumbnail_path("uk", image_hash, number)
        assert below_root == f"uk/{path}.{number}.jpg"
        assert parse_thumbnail_path(below_root.removeprefix("uk/")) == (image_hash, f"{number}.jpg")
        sibling = thumbnail_path("uk", image_hash, number, "webp")
        assert parse_thumbnail_path(sibling.removeprefix("uk/")) == (image_hash, f"{number}.webp")


@pytest.mark.parametrize(
    "text",
    ["", "0", HASH[:-1], HASH + "0", HASH.upper(), HASH + "\n", "../" + HASH[3:], "g" * 40, "０" * 40, HASH + "/x"],
)
def test_nothing_but_a_hash_ever_becomes_a_path(text: str) -> None:
    with pytest.raises(ValueError, match="not an image hash"):
        lis_path_for_hash(text)


GOOD = "0/9/1/7c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4.1.jpg"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x.jpg",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + ".jpg",
        "/" + GOOD,
        "./" + GOOD,
        "uk/" + GOOD,
        GOOD.replace(".1.", ".0."),
        GOOD.replace(".1.", ".10."),
        GOOD.replace(".1.", "."),
        GOOD.replace(".jpg", ".jpeg"),
        GOOD.replace(".jpg", ".png"),
        GOOD + ".webp",
        GOOD.replace("/7", "/77"),
        GOOD.replace("0/9", "09"),
        GOOD.replace("0/9/1", "0/../1"),
        "0/9/1/.7c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4.1.jpg.Xa91b2",
        GOOD.replace("7", "７", 1),
    ],
)
def test_a_path_that_no_image_can_have_is_not_parsed(path: str) -> None:
    assert parse_thumbnail_path(path) is None


@pytest.mark.parametrize(
    ("text", "separator", "urls"),
    [
        ("", "|", ()),
        ("  ", "|", ()),
        ("|", "|", ()),
        ("http://a/1", "|", ("http://a/1",)),
        ("http://a/1|http://a/2", "|", ("http://a/1", "http://a/2")),
        (" http://a/1 | http://a/2\n", "|", ("http://a/1", "http://a/2")),
        ("http://a/2|http://a/1|http://a/2", "|", ("http://a/2", "http://a/1")),
        ("http://a/1||http://a/2|", "|", ("http://a/1", "http://a/2")),
        ("http://a/1?x=1,2;;http://a/2", ";;", ("http://a/1?x=1,2", "http://a/2")),
        ("http://a/%7C|http://a/ä b", "|", ("http://a/%7C", "http://a/ä b")),
    ],
)
def test_a_photo_column_is_split_into_distinct_urls_in_order(text: str, separator: str, urls: tuple[str, ...]) -> None:
    assert split_photo_urls(text, separator) == urls


FATES = {
    Fate.RETRY: {"dns", "connect", "tls", "timeout", "too_slow", "truncated", "protocol"},
    Fate.REJECT: {
        *("too_large", "redirect_loop", "blocked_address", "bad_url", "not_an_image", "unsupported_format"),
        *("too_many_pixels", "too_small", "decode_error"),
    },
    Fate.QUARANTINE: {"decoder_crash", "placeholder", "poison"},
}


def test_every_reason_has_its_fate() -> None:
    known = {code: fate for fate, codes in FATES.items() for code in codes}
    assert {code: reason.fate for code, reason in REASONS.items()} == known
    for code, reason in REASONS.items():
        assert len(code) <= 40  # the column
        assert reason.help.endswith(".")
        assert f"`{code}`" in as_markdown()


@pytest.mark.parametrize(
    ("status", "fate"),
    [(s, Fate.REJECT) for s in (304, 400, 401, 403, 404, 405, 406, 410, 418, 451)]
    + [(s, Fate.RETRY) for s in (408, 425, 429, 500, 501, 502, 503, 504, 520, 599)],
)
def test_a_status_is_its_own_reason_and_says_later_or_never(status: int, fate: Fate) -> None:
    assert reason_for(f"http_{status}").code == f"http_{status}"
    assert reason_for(f"http_{status}").fate is fate


@pytest.mark.parametrize("code", ["", "unknown", "http_", "http_teapot", "http_-20", "http_2OO", "http_٢٠٠", "DNS"])
def test_a_code_that_is_not_in_the_table_is_a_programming_error(code: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        ImageFault(code)


def test_a_faults_detail_fits_its_column() -> None:
    assert len(ImageFault("dns", "x" * 1000).detail) <= 255


@pytest.mark.parametrize(
    ("due", "existing", "expected"),
    [
        (0, 0, 500),
        (1, 0, 500),
        (500, 0, 500),
        (500_000, 0, 500),
        (500_001, 0, 501),
        (2_000_000, 0, 2000),
        (1_000, 999, 1_000),
        (1_000, 1_000, 1_000),
        (100, 5_000, 500),
    ],
)
def test_batches_grow_so_that_a_run_has_few(due: int, existing: int, expected: int) -> None:
    size = batch_size(due, existing, Batching(size=500, max_batches=1000))
    assert size == expected
    assert existing + -(-due // size) <= max(1000, existing + 1)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        *((code, True) for code in ("dns", "connect", "timeout", "tls", "truncated", "http_500", "http_429")),
        *((code, False) for code in ("too_slow", "http_403", "http_404", "bad_url", "not_an_image", "decoder_crash")),
    ],
)
def test_only_what_passes_soon_is_tried_again_within_the_batch(code: str, again: bool) -> None:
    assert tries_again(with_meaning(ImageFault(code), "unknown" if code == "http_403" else None)) is again
    assert not tries_again(ImageFault(code, retry_after=30))


@pytest.mark.parametrize(
    ("code", "seconds", "again"),
    [("http_429", 0, True), ("http_503", 15, True), ("http_503", 16, False), ("http_403", 1, False)],
)
def test_a_pause_that_a_batch_waits_out_costs_no_day(code: str, seconds: float, again: bool) -> None:
    fault = with_meaning(ImageFault(code, retry_after=seconds), "unknown")
    assert tries_again(fault) is again


@pytest.mark.parametrize(("meaning", "fate"), [("gone", Fate.REJECT), ("unknown", Fate.RETRY), (None, Fate.REJECT)])
def test_a_status_map_decides_what_becomes_of_an_image(meaning: StatusMeaning | None, fate: Fate) -> None:
    assert with_meaning(ImageFault("http_404"), meaning).reason.fate is fate
    assert ImageFault("http_404").reason.fate is Fate.REJECT  # the map changes no other failure


@pytest.mark.parametrize(
    ("attempts", "low", "high"),
    [(1, 4.5, 7.5), (2, 9, 15), (3, 18, 30), (5, 72, 120), (6, 126, 210), (60_000, 126, 210), (0, 2.25, 3.75)],
)
def test_retries_come_later_each_time_up_to_a_limit_and_are_spread(attempts: int, low: float, high: float) -> None:
    settings = Retry(first_hours=6, max_hours=168, max_attempts=12)
    assert retry_delay_hours(attempts, settings, 0.0) == low
    assert retry_delay_hours(attempts, settings, 1.0) == high


@pytest.mark.parametrize(
    ("missing", "listed", "stops"),
    [(0, 0, False), (0, 100, False), (20, 100, False), (21, 100, True), (100, 100, True), (1, 0, True), (1, 4, True)],
)
def test_too_many_listings_gone_at_once_stop_the_purge(missing: int, listed: int, stops: bool) -> None:
    assert too_many_missing(missing, listed, 20) is stops


@pytest.mark.parametrize(
    ("candidates", "live", "over"), [(0, 0, False), (5, 100, False), (6, 100, True), (1, 0, True), (1, 10, True)]
)
def test_the_cap_is_a_share_of_the_live_images(candidates: int, live: int, over: bool) -> None:
    assert (live < (live_needed(candidates, 5) or 0)) is over


def test_with_a_cap_of_nothing_no_number_of_live_images_lets_one_go() -> None:
    assert live_needed(1, 0) is None
    assert live_needed(0, 0) == 0


def a_run(day: dt.date, kind: RunKind = RunKind.SCHEDULED) -> Run:
    start = dt.datetime.combine(day, dt.time(), UTC)
    return Run("r", kind, Interval(start, start + dt.timedelta(days=1)))


def test_a_week_of_runs_looks_every_listing_of_a_large_table_up_once() -> None:
    settings = Purge(rotate_above=10, lookup_shards=7)
    days = [dt.date(2026, 3, 1) + dt.timedelta(days=n) for n in range(7)]
    assert {shard_of(day, settings, 11) for day in days} == {(n, 7) for n in range(7)}
    assert shard_of(days[0], settings, 10) == (0, 1)
    assert shard_of(None, settings, 10**9) == (0, 1)


def test_only_a_backfill_reads_exactly_its_interval() -> None:
    day = dt.date(2026, 3, 1)
    for kind, hours in ((RunKind.SCHEDULED, 48), (RunKind.MANUAL, 48), (RunKind.BACKFILL, 0)):
        run = a_run(day, kind)
        assert window(run, 48) == Interval(run.interval.start - dt.timedelta(hours=hours), run.interval.end)
        assert window(run, 0) == run.interval


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example/x", "a.example"),
        ("http://A.Example:8080/x", "a.example:8080"),
        ("https://user:secret@a.example/", "a.example"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:81/", "[::1]:81"),
        ("http://a.example:80/x", "a.example"),
        ("https://a.example:443/x", "a.example"),
        ("https://a.example:80/x", "a.example:80"),
        ("http://a.example./x", "a.example"),
        ("http://a.example /x", ""),
        ("http:\\\\A.example\\x", "a.example"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://%41.ex\tample/", "a.example"),
        ("http://b\u00fccher.example/x", "xn--bcher-kva.example"),
        ("http://xn--bcher-kva.example/x", "xn--bcher-kva.example"),
        ("http://\u2603\ud800.example/x", ""),
        ("http://a.example:99999/x", ""),
        ("http://[broken/", ""),
        ("nonsense", ""),
    ],
)
def test_a_host_is_known_by_one_name_however_it_is_spelt(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("code", "stderr", "reason"),
    [
        (
            255,
            "No ED25519 host key is known for n1.\nHost key verification failed.",
            "host_key",
        ),
        (255, "@@@@\nWARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "host_key"),
        (255, "root@n1: Permission denied (publickey).", "auth"),
        (255, "Received disconnect: Too many authentication failures", "auth"),
        (255, "ssh: connect to host n1 port 22: Connection refused", "unreachable"),
        (12, "ssh: connect to host n1 port 22: Connection refused\nrsync error: code 12", "unreachable"),
        (255, "ssh: connect to host n1 port 22: Connection timed out", "unreachable"),
        (255, "ssh: Could not resolve hostname n1", "unreachable"),
        (255, "kex_exchange_identification: read: Connection reset by peer", "unreachable"),
        (11, 'rsync: write failed on "x": No space left on device (28)', "disk_full"),
        (11, "rsync: mkstemp failed: Disk quota exceeded (122)", "disk_full"),
        (30, "rsync error: timeout in data send/receive (code 30)", "timeout"),
        (35, "", "timeout"),
        (255, "", "interrupted"),
        (12, "rsync: connection unexpectedly closed", "interrupted"),
        (20, "received SIGINT", "interrupted"),
        (-9, "", "interrupted"),
        (23, 'rsync: mkstemp "/x/.y" failed: Permission denied (13)', "transfer"),
        (23, "could not make way for new regular file: uk/0/1/2", "transfer"),
        (1, "bash: cd: /srv: No such file or directory", "transfer"),
        (127, "rsync: command not found", "transfer"),
    ],
)
def test_what_ssh_and_rsync_say_has_one_stable_reason(code: int, stderr: str, reason: str) -> None:
    assert fault_reason(code, stderr) == reason


@pytest.mark.parametrize(
    ("blocks", "inodes", "free_bytes", "free_inodes"),
    [
        ("/dev/sda1 1000 400 600 40% /", "/dev/sda1 500 100 400 20% /", 600 * 1024, 400),
        ("/dev/sda1 1000 400 600 40% /", "/dev/sda1 500 500 0 100% /", 600 * 1024, 0),
        ("overlay 1000 400 600 40% /", "overlay 0 0 0 - /", 600 * 1024, 2**62),
        ("btrfs 1000 400 600 40% /", "btrfs - - - - /", 600 * 1024, 2**62),
    ],
)
def test_a_file_system_that_counts_no_inodes_is_not_full(
    blocks: str, inodes: str, free_bytes: int, free_inodes: int
) -> None:
    space = parse_space(f"{blocks}\n{inodes}\n")
    assert (space.free_bytes, space.free_inodes) == (free_bytes, free_inodes)


REMEDY = "Node n2: unreachable: Connection refused Remedy: start sshd on n2."
DOWN = a_summary(nodes={"n2": NodeState("n2", 5, 0, 0, fault=REMEDY)})


@pytest.mark.parametrize(
    ("summary", "ingested", "failed", "expected"),
    [
        (a_summary(), True, [], []),
        (a_summary(), False, [], ["ingest did not complete"]),
        (a_summary(unfinished={3: 7}), True, [], ["Batch 3 is unfinished: 7 images left", "clear"]),
        (a_summary(unfinished={3: 7}), True, ["process.download[3]"], ["Batch 3"]),
        (a_summary(), True, ["process.download[3]", "sync[n2]", "ingest"], []),  # judged by the database alone
        (a_summary(), True, ["publish"], ["Task publish failed", "clear"]),
        (a_summary(), True, ["check[n1]"], ["Task check[n1] failed"]),
        (DOWN, True, ["sync[n2]"], ["Node n2", "5 images", REMEDY]),
        (DOWN, True, ["sync[n1]"], []),  # a fault of another run's day
        (a_summary(nodes={"n2": NodeState("n2", 5, 3, 0)}), True, [], ["Node n2", "clear sync of n2"]),
        (a_summary(nodes={"n2": NodeState("n2", 5, 0, 0)}), True, [], []),  # another run's images, in hand
        (a_summary(nodes={"n2": NodeState("n2", 0, 0, 9)}), True, [], []),  # marked for repair
    ],
)
def test_a_loss_is_a_batch_unfinished_or_a_node_behind_and_names_its_remedy(
    summary: Summary, ingested: bool, failed: list[str], expected: list[str]
) -> None:
    found = losses(summary, ingested, failed)
    assert len(found) == (1 if expected else 0)
    assert all(part in found[0] for part in expected)
    assert all("Remedy" in loss for loss in found)


def test_a_summary_reads_as_plain_text() -> None:
    text = render(a_summary(lost=["Node n2 is behind by 5 images."]))
    assert text.splitlines() == [
        "UK scheduled run r1, interval A/B",
        "  10 images in 1 batches: 8 live",
        "  2 rejected: 2 http_404",
        "  n1: not checked, 0 images behind, 0 marked for repair",
        "  n2: not checked, 0 images behind, 0 marked for repair",
        "  WORK LOST:",
        "  - Node n2 is behind by 5 images.",
    ]
