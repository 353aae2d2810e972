"""Whatever a run is, its record."""

from __future__ import annotations

import traceback
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from sb3_udrl.benchmark.machine import describe_machine, describe_versions, git_revision
from sb3_udrl.benchmark.offline.training import train_offline
from sb3_udrl.benchmark.suite import Run
from sb3_udrl.benchmark.training import train


def execute(run: Run) -> dict[str, Any]:
    """
    Train, or learn from a recording, and report whatever comes of it. Depends on nothing but its argument, and the recording
    if there is one, so it may run on any machine.

    :param run: the run
    :return: record of the run: its definition, ``status`` (``"complete"`` or ``"failed"``), ``error``, ``evaluations``,
        ``commands`` (in place of the grids, what was asked and what was done), and where and with what it ran
    """
    record: dict[str, Any] = {
        "run": run.run_id,
        **asdict(run),
        "status": "complete",
        "error": None,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": describe_versions(),
        "machine": describe_machine(),
        "git_revision": git_revision(),
        "evaluations": [],
        "commands": [],
    }
    try:
        record.update(train(run) if run.recording is None else train_offline(run))
    except Exception:  # recorded, retried, and shown at the end
        record.update(status="failed", error=traceback.format_exc())
    return record
