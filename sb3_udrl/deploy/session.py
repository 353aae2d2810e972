"""An exported file as a function of arrays: ONNX Runtime reads them where they lie, which saves a third of the time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from sb3_udrl.deploy.books import FORMAT

_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}  # others are called as numpy calls them


class Session:
    """
    ONNX Runtime on one core, since decisions are too small to share. ``about`` is what the file says of its agent.

    :param path: ONNX file that :func:`~sb3_udrl.deploy.export_policy` wrote
    :raises ValueError: if it is another file
    :raises FileNotFoundError: if there is none
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"path={str(path)!r}: there is no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self.onnx = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many kinds
            raise ValueError(f"path={str(path)!r} is no ONNX file, or damaged: {error}") from error
        written = self.onnx.get_modelmeta().custom_metadata_map.get("sb3_udrl")
        if written is None:
            raise ValueError(f"path={str(path)!r}: this file says nothing of commands, export_policy did not write it")
        self.about: dict[str, Any] = json.loads(written)
        if self.about.get("format") != FORMAT:
            raise ValueError(
                f"path={str(path)!r}: its format is {self.about.get('format')!r}, this version reads {FORMAT}: export it again"
            )
        self._bind(1)

    def _bind(self, n: int) -> None:
        """Make room for so many rows, and tell ONNX Runtime where it is."""
        self._n, self._binding = n, self.onnx.io_binding()
        self._inputs = {
            node.name: np.ones((n, *node.shape[1:]), _TYPES.get(node.type, node.type[7:-1])) for node in self.onnx.get_inputs()
        }
        names = [node.name for node in self.onnx.get_outputs()]
        self._outputs = dict(zip(names, self.onnx.run(names, self._inputs), strict=True))
        for name, array in self._inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self._outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, n: int, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """
        What the file puts out.

        :param n: number of rows
        :param inputs: by name, each ``(n, *shape)``, or ``shape`` where ``n`` is 1
        :return: by name, each ``(n, *shape)``; the next call overwrites it
        """
        if n != self._n:
            self._bind(n)
        for name, array in inputs.items():
            self._inputs[name][...] = array
        self.onnx.run_with_iobinding(self._binding)
        return self._outputs
