"""What all algorithms share: the loop of collecting and learning."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback, TrainFreq
from stable_baselines3.common.utils import should_collect_more_steps
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_udrl.buffers import Episode
from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.collectors import Collectors
from sb3_udrl.collectors.collectors import SteppedEnvs
from sb3_udrl.commands import CommandLike, CommandSampler, make_command_sampler
from sb3_udrl.commands.command import Command, values_by_part
from sb3_udrl.commands.tracking import track_evaluations, walk_callbacks
from sb3_udrl.common.arguments import count_gradient_steps
from sb3_udrl.common.base_class import BaseCommandedAlgorithm
from sb3_udrl.common.logs import dump_logs, record_training
from sb3_udrl.common.made_envs import maker_of
from sb3_udrl.common.running import refuse_bad_numbers
from sb3_udrl.policies import FitReport

SelfModel = TypeVar("SelfModel", bound="CommandedAlgorithm")


class CommandedAlgorithm(BaseCommandedAlgorithm):
    """
    Base of the algorithms: collect episodes under commands and learn from them, in turn. A subclass says how it acts
    (:meth:`begin_acting`, :meth:`choose_actions`), what it asks of new episodes (:meth:`begin_episodes`), what it stores of
    them (:meth:`make_hindsight`) and how it learns (:meth:`fit`).

    Parameters are those of :class:`~sb3_udrl.UDRL` and of SB3's ``BaseAlgorithm``.
    """

    def learn(
        self: SelfModel,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfModel:
        """
        Collect episodes under commands and learn from them, in turn (arXiv 1912.02877, algorithm 1).

        :param total_timesteps: number of environment steps, over all environments
        :param callback: called at every step; a ``CommandSampler`` among them decides what is asked for
        :param log_interval: dump the logs after so many rounds, never if None
        :param tb_log_name: name of the run in TensorBoard, by default that of the class
        :param reset_num_timesteps: start to count from zero
        :param progress_bar: show a progress bar
        :return: the model
        :raises ValueError: if a reward or observation is not finite, or an episode does not end
        """
        total_timesteps, callback = self._setup_learn(
            int(total_timesteps), callback, reset_num_timesteps, tb_log_name or type(self).__name__, progress_bar
        )
        assert self.env is not None
        callback.on_training_start(locals(), globals())
        iteration = 0
        while self.num_timesteps < total_timesteps:
            collected_from = self.num_timesteps
            if not self.collect_rollouts(self.env, callback, self._train_freq, total_timesteps):
                break
            iteration += 1
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            if not self.warming_up and self.replay_buffer.n_episodes > 0:
                self.train(self.due_gradient_steps(self.num_timesteps - collected_from), self.batch_size)
            if log_interval is not None and iteration % log_interval == 0:
                self.dump_logs(iteration)
        callback.on_training_end()
        return self

    def collect_rollouts(self, env: VecEnv, callback: BaseCallback, train_freq: TrainFreq, total_timesteps: int) -> bool:
        """
        Act under commands, and store the episodes that end (arXiv 1912.02877, algorithm 2).

        :param env: the training environment
        :param callback: called at every step
        :param train_freq: how much to collect
        :param total_timesteps: stop at this step at the latest
        :return: False if the callback wants training to stop
        """
        callback.on_rollout_start()
        self.policy.set_training_mode(False)
        steps = self._steps(env, train_freq, total_timesteps)
        n_steps, n_episodes = 0, 0
        while should_collect_more_steps(train_freq, n_steps, n_episodes) and self.num_timesteps < total_timesteps:
            self._is_stepping = True
            with _unharmed(self._vec_normalize_env):
                actions, new_obs, rewards, dones, infos = next(steps)
                self._refuse_bad_numbers(new_obs, rewards)
            raw_rewards = self._raw_rewards(rewards)  # before callbacks, which may play in this environment
            self.num_timesteps += env.num_envs
            n_steps += 1
            callback.update_locals(locals())
            goes_on = callback.on_step()
            self._update_info_buffer(infos, dones)
            self._running.record(self._raw_obs(), actions, raw_rewards, dones, infos)
            self._store_last_obs(new_obs)
            if dones.any():
                n_episodes += int(dones.sum())
                self._finish_episodes(dones, infos)
            self._is_stepping = False
            if not goes_on:
                return False
        callback.on_rollout_end()
        return True

    def _steps(self, env: VecEnv, train_freq: TrainFreq, total_timesteps: int) -> Iterator[SteppedEnvs]:
        """Steps of the environment, or of collectors: actions, observations after the step, rewards, dones and infos."""
        if self._collectors is not None:
            yield from self._collectors.round(self, train_freq, total_timesteps)
        self.begin_acting()
        while True:
            if self._was_reset_by_others():
                self._begin_anew(env)
            actions = self.choose_actions()
            new_obs, rewards, dones, infos = env.step(actions)
            self._note_resets()
            yield actions, cast(Observation, new_obs), rewards, dones, infos

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """
        Learn from the stored episodes, and choose the command that ``predict`` starts with; before ``learn`` as well, if the
        replay buffer was filled.

        :param gradient_steps: number of steps, for those who take steps
        :param batch_size: transitions per step
        :raises ValueError: if no episode is stored
        """
        started = time.perf_counter()
        report = self._fit_stored(gradient_steps, batch_size)
        rate = self.lr_schedule(self._current_progress_remaining)
        record_training(self.logger, report, rate, self._n_updates, time.perf_counter() - started)

    def due_gradient_steps(self, n_collected: int) -> int:
        """
        How much is learned of what was collected.

        :param n_collected: environment steps since the last training
        """
        return count_gradient_steps(self.gradient_steps, n_collected)

    def _fit_stored(self, gradient_steps: int, batch_size: int) -> FitReport:
        if self.replay_buffer.n_episodes == 0:
            raise ValueError(
                "the replay buffer holds no episodes to learn from: learn() collects some, learn_from() reads recorded ones, "
                "and replay_buffer.add() takes others"
            )
        self.hindsight.relabel()
        report = self.fit(gradient_steps, batch_size, self.lr_schedule(self._current_progress_remaining))
        self.remember()
        self._n_updates += report.n_updates
        self.choose_own_command()
        return report

    def choose_own_command(self) -> None:
        """Let the policy begin with what the command sampler takes for the best, where nobody says otherwise."""
        self.begin_with(self._taken(self._command_sampler.best(), "best"))

    @property
    def warming_up(self) -> bool:
        """Whether more is to be seen before anything is learned; a replay buffer that was loaded or filled is enough."""
        return self.num_timesteps < self.learning_starts and not self._was_filled

    @abstractmethod
    def fit(self, gradient_steps: int, batch_size: int, learning_rate: float) -> FitReport:
        """
        Learn from the stored episodes.

        :param gradient_steps: number of steps, for those who take steps
        :param batch_size: transitions per step
        :param learning_rate: current value of the schedule
        """

    def remember(self) -> None:
        """Let the policy know what episodes came to, so that it can say what goes with what in commands."""
        if self.policy.experience is not None:
            self.policy.experience.remember(self.hindsight.totals())

    def dump_logs(self, iterations: int = 0) -> None:
        """
        Write all figures to the logger.

        :param iterations: rounds of collecting and learning so far
        """
        dump_logs(self, iterations)

    # Episodes: what is asked of them, and where they go

    def ask(self, starts: NDArray[np.bool_], command: CommandLike | None) -> None:
        """
        Play the episodes that start now under a command.

        :param starts: in which environments, ``(n_envs,)``
        :param command: a row for each of them; None for the model's own
        """
        self._running.begin(starts, self.policy.initial_command(int(starts.sum()), command))

    def _sampled_command(self, starts: NDArray[np.bool_]) -> Command:
        """What the command sampler asks of the episodes that start now, a row for each."""
        first = map_observation(lambda rows: rows[starts], self._raw_obs())
        command: CommandLike | None = self._command_sampler.sample(first)
        n_starts = int(starts.sum())
        return self.policy.initial_command(n_starts, self.command_space.make(self._taken(command, "sample"), n_starts))

    def _taken(self, command: CommandLike | None, hook: str) -> CommandLike:
        """A sampler's command without the parts that this model does not take, unless these are all: then it is refused."""
        source = f"{type(self._command_sampler).__name__}.{hook}()"
        if command is None:
            raise ValueError(f"{source} returned None: return a Command, with a row each")
        asked = values_by_part(command)
        taken = {name: values for name, values in asked.items() if name in self.command_space}
        if asked and not taken:
            takes = ", ".join(self.command_space.names)
            raise ValueError(f"{source} asks for {', '.join(sorted(asked))}: this model takes {takes}")
        return Command(taken) if isinstance(command, Command) else taken

    def _finish_episodes(self, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Store the episodes that ended, and begin the next ones in the same environments."""
        for env in np.flatnonzero(dones).tolist():
            self.store(self._running.recorder.finish(env, infos[env].get("TimeLimit.truncated", False)), env)
        if self._collectors is None:
            self.begin_episodes(dones)
        else:
            self._collectors.begin_episodes(self, dones)

    def store(self, episode: Episode, env: int) -> None:
        """
        Keep a finished episode, and what came of its command.

        :param episode: the episode
        :param env: index of the environment
        """
        self.replay_buffer.add(episode)
        if not self._running.warm_up[env]:
            self.outcomes.add(self.command_space, self._running.asked.rows([env]), episode)

    def n_practicing_elsewhere(self) -> int:
        """Episodes of practice that are running or ordered, but for those that the model attends to."""
        return 0 if self._collectors is None else self._collectors.n_practicing_besides(self._running)

    # What VecNormalize hides: observations and rewards are stored raw

    @property
    def _normalizer(self) -> VecNormalize | None:
        """``VecNormalize``, where observations are stored as they are below it."""
        return self._vec_normalize_env if self._stores_raw_obs else None

    def _raw_obs(self) -> Any:
        """The observations before this step, as they were before ``VecNormalize``."""
        return self._last_obs if self._normalizer is None else self._last_original_obs

    def _raw_rewards(self, rewards: NDArray[Any]) -> NDArray[Any]:
        return rewards if self._vec_normalize_env is None else self._vec_normalize_env.get_original_reward()

    def _store_last_obs(self, new_obs: Any) -> None:
        self._last_obs = new_obs
        if self._vec_normalize_env is not None:
            self._last_original_obs = self._vec_normalize_env.get_original_obs()

    def _refuse_bad_numbers(self, new_obs: Any, rewards: NDArray[Any] | None) -> None:
        """Stop at a step that is not finite. It counts for nothing, and the environments start anew when training goes on."""
        try:
            if rewards is not None:
                refuse_bad_numbers(self._raw_rewards(rewards), "reward")
            if self._normalizer is not None:
                refuse_bad_numbers(self._normalizer.get_original_obs(), "observation")
            refuse_bad_numbers(new_obs, "observation")
        except ValueError:
            self._last_obs = None
            raise

    # How a run starts

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if self.env is None:
            raise ValueError("env=None: nothing to learn from: set_env(env) gives the model one, as does load(path, env)")
        # The last training was interrupted within a step, which is missing; or something else has been played meanwhile
        if self._is_stepping or self._was_reset_by_others():
            self._last_obs = None
        resets, planned = reset_num_timesteps or self._last_obs is None, self._total_timesteps
        normalize = self._vec_normalize_env
        goes_on = not reset_num_timesteps and bool(self._running.resumed.all())
        with _unharmed(normalize):
            with _uncounted(normalize if goes_on else None):  # the run that is gone on with has seen these first observations
                result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
            self._refuse_bad_numbers(self._last_obs, None)
        self._note_resets()
        if reset_num_timesteps:
            self.count_from_zero()
        elif self._total_timesteps != planned:  # else it goes on with the progress that it had
            self._run_began = self.num_timesteps
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        self._was_filled = self.replay_buffer.n_transitions_added > self.num_timesteps
        if self._was_filled and self._n_updates == 0:
            self.train(count_gradient_steps(self.gradient_steps, self.replay_buffer.n_transitions), self.batch_size)
        former, self._collectors = self._collectors, self.make_collectors()
        self._is_stepping = True
        if self._collectors is not None:
            if resets or self._collectors is not former:
                self._collectors.start_over(self, keep_resumed=not reset_num_timesteps)
        elif resets or self._running.undecided:  # the environments start anew: the episodes that ran are cut off and dropped
            self._start_over(keep_resumed=not reset_num_timesteps)
        self._is_stepping = False
        return result

    def _start_over(self, keep_resumed: bool) -> None:
        """Begin all episodes, whose environments were reset."""
        undecided = self._running.start_over(keep_resumed)
        if undecided.any():
            self.begin_episodes(undecided)

    def _was_reset_by_others(self) -> bool:
        """Whether somebody else, such as an evaluation, has played in the training environment."""
        return self._collectors is None and self._resets is not None and self._resets.count != self._resets_seen

    def _note_resets(self) -> None:
        """All resets until now are this model's own."""
        if self._resets is not None:
            self._resets_seen = self._resets.count

    def _begin_anew(self, env: VecEnv) -> None:
        """Drop the running episodes, which somebody else has ended."""
        warnings.warn(
            "the training environment was reset while a model trains in it, so its running episodes are dropped: evaluate in "
            "an environment of its own",
            stacklevel=2,
        )
        self._store_last_obs(env.reset())
        self._note_resets()
        self._start_over(keep_resumed=False)

    def count_from_zero(self) -> None:
        """A run begins whose steps are counted from zero: so is its progress, which SB3 leaves at the end of the last one."""
        self._run_began, self._current_progress_remaining = 0, 1.0

    def make_collectors(self) -> Collectors | None:
        """Those that play for this model, if there are to be any; processes of another environment are ended."""
        former = self._collectors
        if former is not None and self.collectors and former.make is maker_of(self.training_env):
            return former
        if former is not None:
            former.close()
        return Collectors(self, self.collectors, **(self.collector_kwargs or {})) if self.collectors else None

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        """Install the default command sampler unless one is given, and let evaluation callbacks see exact rewards."""
        if not isinstance(callback, BaseCallback):
            callback = CallbackList(callback) if isinstance(callback, list) else ConvertCallback(callback)
        samplers = [found for found in walk_callbacks(callback) if isinstance(found, CommandSampler)]
        if len(samplers) > 1:
            raise ValueError(f"callback holds {len(samplers)} command samplers: each episode gets one command, so pass one")
        if not samplers:
            samplers = [make_command_sampler(self.command_sampler, self.command_sampler_kwargs)]
            callback = CallbackList([samplers[0], callback])
        self._command_sampler = samplers[0]
        track_evaluations(callback)
        return super()._init_callback(callback, progress_bar)


@contextmanager
def _unharmed(normalize: VecNormalize | None) -> Iterator[None]:
    """
    Bring statistics back to what they are now if there is an error: what is refused was counted by then.

    :param normalize: whose statistics; None for nobody's
    """
    if normalize is None:
        yield
        return
    of_observations = getattr(normalize, "obs_rms", {})  # there are none without ``norm_obs``
    parts = of_observations.values() if isinstance(of_observations, dict) else [of_observations]
    before = [(part, dict(vars(part))) for part in (*parts, normalize.ret_rms)]  # they replace their numbers, so these stay
    returns = normalize.returns
    try:
        yield
    except BaseException:
        for part, numbers in before:
            vars(part).update(numbers)
        normalize.returns = returns
        raise


@contextmanager
def _uncounted(normalize: VecNormalize | None) -> Iterator[None]:
    """Let statistics stay as they are, as long as the context lasts; None for nobody's."""
    if normalize is None:
        yield
        return
    training, normalize.training = normalize.training, False
    try:
        yield
    finally:
        normalize.training = training
