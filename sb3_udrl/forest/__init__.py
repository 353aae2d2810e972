"""Forests, and any other estimator with scikit-learn's interface, as behavior functions (extra ``forest``)."""

try:
    import skops  # noqa: F401
    import treelite  # noqa: F401
except ImportError as error:
    raise ImportError("forests need scikit-learn, treelite and skops: pip install sb3-udrl[forest]") from error

from sb3_udrl.forest.export import to_onnx
from sb3_udrl.forest.policy import ForestPolicy

__all__ = ["ForestPolicy", "to_onnx"]
