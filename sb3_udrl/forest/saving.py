"""What a forest has learned as bytes, by skops: loading them runs no code that they bring along."""

from __future__ import annotations

import io
import math
import warnings
import zipfile

import sklearn
import skops.io
from numpy.lib import format as npy

from sb3_udrl.forest.checks import check_estimators, check_objects, check_trial
from sb3_udrl.forest.heads import ContinuousHead, DiscreteHead, Learned
from sb3_udrl.forest.native_parts import from_plain, to_plain
from sb3_udrl.forest.scaling import Scaling
from sb3_udrl.saving.trust import Untrusted, trusted_names

# Data without methods of their own, which skops leaves to the user
TRUSTED_TYPES = (
    "collections.OrderedDict",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
    "xgboost.sklearn.XGBRegressor",
)
_MAX_UNPACKED = 2**20  # bytes that a file of any size may unpack to
_MAX_RATIO = 100  # of sizes unpacked and packed: what is larger was made to fill the memory


def to_bytes(learned: Learned, progress: tuple[int, ...]) -> bytes:
    """
    :param learned: what was learned
    :param progress: plain numbers to keep with it
    """
    scaling = None if learned.scaling is None else learned.scaling._asdict()
    content = {
        **to_plain({**learned._asdict(), "scaling": scaling}),
        "progress": list(progress),
        "scikit-learn": sklearn.__version__,
    }
    return skops.io.dumps(content, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def from_bytes(content: bytes, n_inputs: int, head: DiscreteHead | ContinuousHead) -> tuple[Learned, list[int]]:
    """
    The inverse of :func:`to_bytes`. All is looked at before anything uses it, so that what strangers made cannot end the
    process.

    :param content: the bytes
    :param n_inputs: number of inputs that the policy has
    :param head: how it chooses actions
    :raises Untrusted: if they hold types that are not trusted
    :raises ValueError: if they are damaged, or fit other inputs or actions
    """
    try:
        return _from_bytes(content, n_inputs, head)
    except Untrusted:
        raise
    except Exception as error:  # of many kinds: skops builds what the file says
        raise ValueError(f"the forest of this file is damaged, or not of this policy: {error or repr(error)}") from error


def _from_bytes(content: bytes, n_inputs: int, head: DiscreteHead | ContinuousHead) -> tuple[Learned, list[int]]:
    _check_sizes(content)
    found = set(skops.io.get_untrusted_types(data=content)) - {*TRUSTED_TYPES, *trusted_names()}
    if found:
        raise Untrusted({name: "the forest" for name in sorted(found)})
    loaded = skops.io.loads(content, trusted=[*TRUSTED_TYPES, *trusted_names()])
    check_objects(loaded)
    loaded = from_plain(to_plain(loaded))  # also native parts of older files are plain for a moment, to be looked at
    progress, version = loaded["progress"], loaded["scikit-learn"]
    if len(progress) != 3 or not all(type(number) is int and number >= 0 for number in progress):
        raise ValueError(f"its progress is {progress!r} instead of three counts")
    scaling = loaded.get("scaling")  # earlier revisions had none
    learned = Learned(
        loaded["estimator"],
        loaded["present"],
        loaded["deviation"],
        None if scaling is None else Scaling.restored(scaling, n_inputs),
    )
    check_estimators(learned.estimator, n_inputs)
    check_trial(learned, n_inputs, head)
    if version != sklearn.__version__:
        warnings.warn(
            f"this forest was saved with scikit-learn {version}, and this is {sklearn.__version__}: it may "
            "decide differently. Install that version, or train again",
            stacklevel=4,
        )
    return learned, progress


def _check_sizes(content: bytes) -> None:
    """Whether arrays have the sizes that they declare, before memory is taken for them."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        unpacked = sum(member.file_size for member in file.infolist())
        if unpacked > max(_MAX_UNPACKED, _MAX_RATIO * len(content)):
            raise ValueError(f"it would unpack to {unpacked:,} bytes, more than {_MAX_RATIO} times its size")
        for member in file.infolist():
            with file.open(member) as array:
                if array.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
                    continue
                array.seek(0)
                header = npy.read_array_header_1_0 if npy.read_magic(array) == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = header(array)
                if (
                    math.prod(shape) * dtype.itemsize != member.file_size - array.tell()
                    or min(shape, default=0) < 0
                    or dtype.hasobject
                ):
                    raise ValueError(f"its array {member.filename} does not hold {shape} of {dtype} as it says")
