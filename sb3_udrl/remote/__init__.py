"""Folders and files at addresses such as ``s3://bucket/prefix``: :class:`SavingTo`, ``python -m sb3_udrl.remote``."""

from sb3_udrl.remote.mirror import Mirror
from sb3_udrl.remote.saving_to import SavingTo

__all__ = ["Mirror", "SavingTo"]
