"""
Resident memory of a stored transition, beside its raw data: ``python -m benchmarks.memory N_TRANSITIONS`` (Linux).

Raw are an observation, an action and a reward, in the types of the spaces and ``float32``. A tenth of the full buffer was
replaced: forgotten rows are reclaimed once they are a sixteenth of all, so this is near the worst case.
"""

import os
import sys

from benchmarks.buffers import EPISODE_LENGTH, filled_buffer


def resident_bytes():
    """Memory of this process that is in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(n_transitions):
    """Print the bytes of a transition, and those of its raw data."""
    filled_buffer(1_000)
    before = resident_bytes()
    buffer = filled_buffer(n_transitions)
    for index in range(n_transitions // EPISODE_LENGTH // 10):
        buffer.add(buffer.episode(index))
    space = buffer.observation_space
    print(
        (resident_bytes() - before) / buffer.n_transitions, 4 * space.dtype.itemsize + buffer.action_space.dtype.itemsize + 4
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
