"""Sending a folder to an address while something works in it."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from pathlib import Path

from sb3_udrl.remote.mirror import Mirror

_LONGEST_PAUSE = 60.0


class SavingTo:
    """
    As a context: what appears in a folder goes to an address, in a thread of its own. While the address cannot be reached, all
    stays in the folder, and is tried again. What is still there in the end goes out with the next context, or with
    ``python -m sb3_udrl.remote send``::

        with SavingTo("logs", "s3://bucket/cartpole"):
            model.learn(100_000, callback=CheckpointCallback(10_000, "logs"))
            model.save("logs/final")

    :param folder: the folder
    :param address: as fsspec takes them
    :param every: look for new files every so many seconds
    :param patience: in the end, go on for so many seconds after the last file that went out
    :raises ValueError: if the address is none
    :raises ImportError: if the package of its protocol is missing
    """

    def __init__(self, folder: str | Path, address: str, every: float = 5.0, patience: float = 60.0) -> None:
        if every <= 0 or patience < 0:
            raise ValueError(f"every={every}, patience={patience}: must be above 0, and at least 0")
        self.mirror, self.every, self.patience = Mirror(folder, address), every, patience
        self._ended = threading.Event()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._work, name=f"saving to {address}", daemon=True)

    def __enter__(self) -> SavingTo:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._finish()

    def left(self) -> list[str]:
        """Files that have not gone out yet, relative to the folder."""
        return sorted(self.mirror.waiting())

    def _work(self) -> None:
        pause = self.every
        while not self._ended.wait(pause):
            pause = self.every if self._send_due() else min(2 * pause, _LONGEST_PAUSE)

    def _finish(self) -> None:
        last = time.monotonic()
        while self.left() and time.monotonic() - last <= self.patience:
            n_left = len(self.left())
            self._send_due()
            if len(self.left()) < n_left:
                last = time.monotonic()
            elif self.left():
                time.sleep(min(0.5, self.every))
        if left := self.left():
            folder, address = self.mirror.folder, self.mirror.address
            warnings.warn(
                f"{len(left)} files have not gone out to {address}: {self._trouble or 'they still change'}. They are in "
                f"{folder}; to send them: python -m sb3_udrl.remote send {folder} {address}",
                stacklevel=3,
            )

    def _send_due(self) -> bool:
        """Send until one fails; whether none did."""
        for name in self.mirror.due():
            try:
                self.mirror.send(name)
            except Exception as error:  # of the network, in the types of each protocol: tried again, named in the end
                trouble = f"{type(error).__name__}: {error}"
                if self._trouble is None:
                    stays = f"files stay in {self.mirror.folder}, and go out later"
                    print(f"{self.mirror.address}: {trouble}; {stays}", file=sys.stderr, flush=True)
                self._trouble = trouble
                return False
            self._trouble = None
        return True
