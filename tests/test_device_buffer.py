"""A replay buffer that keeps a copy of its observations on a device. The CPU stands for one where there is no GPU."""

import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import assert_same_parameters, hindsight, make_vec, parameters_of, small_buffer, tiny_model
from helpers import episode as steps
from probe_envs import FixedStart
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode
from sb3_udrl.buffers.arrays import MirroredArray, to_tensor

GPU = "cuda" if th.cuda.is_available() else "cpu"


@pytest.mark.parametrize("retention", ["recent", "best", "mixed"])
def test_the_copy_follows_what_is_stored_and_forgotten(retention):
    plain, mirrored = (small_buffer(60, retention=retention, device=device) for device in (None, GPU))
    for i, length in enumerate(np.random.default_rng(0).integers(1, 20, size=200)):
        for buffer in (plain, mirrored):
            buffer.add(steps(np.full(length, i % 13), first=100 * i))
        if i % 3 == 0:  # at times several episodes are new, or rows were moved more than once
            expected, batch = hindsight(plain).sample(40), hindsight(mirrored).sample(40)
            assert isinstance(batch.observations, th.Tensor)
            np.testing.assert_array_equal(batch.observations.cpu().numpy(), expected.observations)
            np.testing.assert_array_equal(batch.command.desired_return, expected.command.desired_return)


def test_only_new_rows_are_copied():
    array = MirroredArray((), np.float32, 4, th.device(GPU)).extended(np.arange(3.0))
    assert array.take(np.array([2, 0])).tolist() == [2, 0]
    array.rows[0] = 7  # not seen: the copy has this row already
    array = array.extended(np.arange(3.0, 9.0))
    assert array.take(np.array([0, 8])).tolist() == [0, 8]
    array = array.overwritten(1, array.rows[2:]).shortened(8)
    assert array.take(np.arange(8)).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("dtype", "wide"), [(np.uint16, th.int32), (np.uint32, th.int64), (np.uint8, th.uint8)])
def test_unsigned_numbers_get_a_type_whose_rows_can_be_picked(dtype, wide):
    numbers = np.array([0, 7, np.iinfo(dtype).max], dtype)
    array = MirroredArray((), dtype, 4, th.device(GPU)).extended(numbers)
    assert array.take(np.array([2, 1])).tolist() == [numbers[2], 7]
    tensor = to_tensor(numbers, th.device(GPU))
    assert tensor.dtype == wide and tensor.tolist() == numbers.tolist()


def test_dictionaries_and_other_devices():
    space = spaces.Dict(a=spaces.Box(0, 255, (1, 4, 4), np.uint8), b=spaces.Discrete(5))
    buffer = EpisodicReplayBuffer(10, space, spaces.Discrete(2), seed=0, device="meta")
    buffer.add(Episode({"a": np.zeros((3, 1, 4, 4), np.uint8), "b": np.arange(3)}, np.zeros(3, int), np.ones(3)))
    observations = hindsight(buffer).sample(7).observations
    assert {key: rows.device.type for key, rows in observations.items()} == {"a": "meta", "b": "meta"}
    assert (observations["a"].dtype, observations["b"].dtype) == (th.uint8, th.int64)
    assert observations["a"].shape == (7, 1, 4, 4)


def test_learning_is_the_same():
    models = [
        tiny_model(make_vec(FixedStart, 2), device=GPU, replay_buffer_kwargs={"device": device}).learn(100)
        for device in (None, GPU)
    ]
    assert_same_parameters(*map(parameters_of, models))


def test_a_saved_buffer_makes_its_copy_anew():
    buffer = small_buffer(device=GPU)
    buffer.add(steps([1, 2, 3]))
    hindsight(buffer).sample(1)
    loaded = pickle.loads(pickle.dumps(buffer))
    assert loaded._observations._copy is None
    assert sorted(set(hindsight(loaded).sample(100).observations[:, 0].tolist())) == [0, 1, 2]


def test_a_normalizer_is_refused():
    model = tiny_model(VecNormalize(make_vec(FixedStart)), replay_buffer_kwargs={"device": "cpu"})
    with pytest.raises(ValueError, match="device='cpu': VecNormalize"):
        model.learn(100)
