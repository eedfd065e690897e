"""Decoding processes: real crashes, hangs and hunger in the midst of good images cost those images alone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import psutil
import pytest
from PIL import Image

from imagesys_lib.errors import DiskFull, EnvironmentFault
from imagesys_lib.thumbnail.messages import Made, ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import TASK_IMAGES, Decoders
from tests.support.images import encoded, quarters
from tests.support.poison import MAKING, RAISED, dying, late, treacherous
from tests.support.world import has_ended, wait_for

MEMORY_MB = 256


@pytest.fixture
def jobs(tmp_path: Path):
    data = encoded(quarters(640, 480), "JPEG")

    def make(*names: str) -> list[ThumbnailJob]:
        made = []
        for key, name in enumerate(names):
            source = tmp_path / f"{key}-{name}"
            source.write_bytes(data)
            made.append(ThumbnailJob(key, source, tmp_path / "out", f"uk/{key}", MAKING))
        return made

    return make


@pytest.fixture
def pool() -> Iterator[Decoders]:
    with Decoders(2, MEMORY_MB, 1, work=treacherous) as decoders:
        yield decoders


def done(pool: Decoders, jobs: Sequence[ThumbnailJob], seconds: float = 60) -> list[Made]:
    futures = [pool.submit(jobs[at : at + TASK_IMAGES]) for at in range(0, len(jobs), TASK_IMAGES)]
    return sorted((made for future in futures for made in future.result(seconds)), key=lambda made: made.key)


def test_good_images_are_written_whole_and_described(pool, jobs, tmp_path):
    for made in done(pool, jobs(*["good"] * 20)):
        assert made.code == ""
        assert [thumb["n"] for thumb in made.thumbs] == [1, 2]
        for thumb in made.thumbs:
            data = (tmp_path / "out" / thumb["path"]).read_bytes()
            assert len(data) == thumb["bytes"]
            assert Image.open(io.BytesIO(data)).size == (thumb["width"], thumb["height"])


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("abort", "SIGABRT"),
        ("segv", "SIGSEGV"),
        ("kill", "SIGKILL"),
        ("hang", "no end after 3 s"),
        ("hungry", "not enough memory"),
    ],
)
def test_a_crash_a_hang_and_hunger_cost_that_image_alone(pool, jobs, how, detail):
    names = ["good"] * 24
    names[5], names[17] = how, how
    began = time.monotonic()
    made = done(pool, jobs(*names))
    assert time.monotonic() - began < 20
    assert {one.key: one.code for one in made if one.code} == {5: "decoder_crash", 17: "decoder_crash"}
    assert all(detail in one.detail for one in made if one.code)
    assert all(len(one.thumbs) == 2 for one in made if not one.code)


@pytest.mark.parametrize("how", ["once-starved", "once-ended"])
def test_a_photo_that_is_well_in_another_process_is_not_to_blame(pool, jobs, tmp_path, how):
    made = done(pool, jobs("good", how, "good"))
    assert len(list(tmp_path.glob("gone-*"))) == 2
    assert [(len(one.thumbs), one.code) for one in made] == [(2, "")] * 3


def test_an_original_that_is_gone_is_neither_made_nor_faulty(pool, jobs):
    good, gone = jobs("good", "gone")
    gone.source.unlink()
    assert [(bool(one.thumbs), one.code) for one in done(pool, [good, gone])] == [(True, ""), (False, "")]


@pytest.mark.parametrize("what", ["broken", "absurd"])
def test_what_a_decoder_raises_is_that_photos_decode_error_and_no_others(pool, jobs, what):
    made = done(pool, jobs("good", what, "good"))
    assert [(len(one.thumbs), one.code) for one in made] == [(2, ""), (0, "decode_error"), (2, "")]
    assert "in failing" in made[1].raised
    assert made[1].detail == f"{type(RAISED[what]).__name__}: {RAISED[what]}"


def test_what_is_no_images_fault_is_raised(pool, jobs):
    with pytest.raises(DiskFull, match="No space left"):
        done(pool, jobs("good", "full"))


def test_processes_that_never_stay_alive_are_a_fault_of_the_environment(jobs):
    with Decoders(2, MEMORY_MB, 2, work=dying) as decoders:
        made = done(decoders, jobs("good"))  # one image: it may be its fault
        assert made[0].code == "decoder_crash"
    with pytest.raises(EnvironmentFault, match="as soon as they have begun"), Decoders(1, 1 << 60, 2) as decoders:
        done(decoders, jobs("good"))  # no limit can be set so high: no process begins


def test_crashes_between_tasks_break_no_batch_that_gets_on(jobs):
    with Decoders(1, MEMORY_MB, 5, work=late) as decoders:
        for job in jobs(*["good"] * 6):
            assert done(decoders, [job])[0].thumbs
            until = time.monotonic() + 20
            while decoders._pool.active and time.monotonic() < until:
                time.sleep(0.05)


def test_idle_processes_that_are_ended_from_outside_are_replaced(pool, jobs):
    done(pool, jobs("good"))
    for process in psutil.Process().children(recursive=True):
        if "pebble" in process.name() or process.ppid() != os.getpid():
            process.terminate()
    assert all(made.thumbs for made in done(pool, jobs(*["good"] * 16)))


@pytest.mark.long  # ten seconds, as long as Pebble waits
def test_a_process_killed_while_it_answers_holds_up_the_others_for_seconds(pool, jobs):
    """What it held is held for ever: here by ourselves."""
    done(pool, jobs("good"))
    broken = pool._pool
    broken._pool_manager.worker_manager.workers_channel.mutex.writer_mutex.acquire()
    assert all(made.thumbs for made in done(pool, jobs(*["good"] * 16), seconds=40))
    assert pool._pool is not broken


def test_leaving_ends_the_processes_within_a_second_whatever_they_do(jobs):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with Decoders(2, MEMORY_MB, 60, work=treacherous) as decoders:
        futures = [decoders.submit([job]) for job in jobs("hang", "hang", "good")]
        time.sleep(1)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(1)
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert not [process for process in left if not has_ended(process) and process.ppid() != os.getpid()]


def test_processes_die_with_a_parent_that_is_killed(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from imagesys_lib.thumbnail.messages import ThumbnailJob
        from imagesys_lib.thumbnail.processes.pool import Decoders
        from tests.support.poison import MAKING, treacherous
        if __name__ == "__main__":
            source = Path(sys.argv[1], "hang")
            source.touch()
            with Decoders(2, 256, 60, work=treacherous) as decoders:
                decoders.submit([ThumbnailJob(1, source, source.parent, "x", MAKING)])
                time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        until = time.monotonic() + 20
        children: list[psutil.Process] = []
        while len(children) < 4 and time.monotonic() < until:  # the server, two of its, the tracker of semaphores
            time.sleep(0.1)
            children = psutil.Process(parent.pid).children(recursive=True)
        time.sleep(0.5)
    finally:
        parent.kill()
        parent.wait()
    assert len(children) >= 4
    wait_for(lambda: all(map(has_ended, children)), "what it had started to end", 10)


def test_children_run_nothing_of_the_callers_main_module(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            from pathlib import Path
            Path(sys.argv[1], f"ran-{os.getpid()}").touch()
            from imagesys_lib.thumbnail.messages import ThumbnailJob
            from imagesys_lib.thumbnail.processes.pool import Decoders
            from tests.support.poison import MAKING
            with Decoders(2, 256, 60) as decoders:  # not even guarded
                print(decoders.submit([ThumbnailJob(1, Path("/nowhere"), Path("/nowhere"), "x", MAKING)]).result(30))
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ran = subprocess.run(
        [sys.executable, script, tmp_path], check=True, capture_output=True, env=environment, text=True
    )
    assert "Made(key=1" in ran.stdout
    assert len(list(tmp_path.glob("ran-*"))) == 1


def test_many_callers_threads_share_a_pool(pool, jobs):
    work = jobs(*["good"] * 32)
    seen: list[Made] = []
    threads = [
        threading.Thread(target=lambda at=at: seen.extend(done(pool, work[at : at + 8]))) for at in (0, 8, 16, 24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made.key for made in seen) == list(range(32))
