"""The host loses its power before every step of a work, and what was not made durable is gone, in three ways.

After the next start `current` is complete, and a deploy succeeds with no hand work; a work that had ended well is done.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.crash.durable import VARIANTS, Disk
from tests.crash.harness import EXPIRY, NO_STEPS, World, remove
from tests.crash.looking import Judge
from tests.crash.points import SEED, noting, sample, tell
from tests.crash.works import Work, every_work


@every_work
def test_the_power_is_cut_at_every_step(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], tmp_path: Path, work: Work
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    work.undisturbed(world, at=0, keep=str(kept))
    events = world.events()
    done = tmp_path / "done" / world.base.name
    shutil.copytree(world.base, done, symlinks=True)
    steps = [number for number, event in enumerate(events) if event.verb not in NO_STEPS]
    cuts = [*steps, len(events)]
    chosen = set(sample([(cut, survives) for cut in cuts for survives in VARIANTS]))
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    # Twice: what is in a file is known only when it is destroyed, or in the end.
    whole, disk = (Disk(world.base, world.saved(work.state), kept) for _ in range(2))
    for event in events:
        whole.apply(event)
    whole.learn_contents(done)
    wrong: list[str] = []
    for cut, event in enumerate([*events, None]):
        for survives in VARIANTS:
            if (cut, survives) not in chosen:
                continue
            remove(world.base)
            disk.make(whole.written, survives, f"{SEED} {work.name} {cut}")
            where = event.name(str(world.base)) if event else "the end"
            with noting(wrong, f"{survives} at event {cut}, {where}"):
                if not event:
                    judge.assert_whole(world, work.serves)
                work.assert_recovers(world, judge, started=EXPIRY + 1, boot_id=str(boot))
        if event:
            disk.apply(event)
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"power cut while at work on {work.name}", cuts, sorted(chosen), "moments, three ways each")
