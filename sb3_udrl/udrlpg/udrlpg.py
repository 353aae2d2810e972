"""Upside-Down Reinforcement Learning with Policy Generators, https://arxiv.org/abs/2501.16288."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_udrl.buffers import Episode
from sb3_udrl.commands import CommandSampler
from sb3_udrl.commands.calibration import calibration
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.common.arguments import check_at_least
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.obedience import ScoreCard
from sb3_udrl.obedience.score_card import ENOUGH
from sb3_udrl.policies import FitOptions, FitReport
from sb3_udrl.saving.checks import checked_array
from sb3_udrl.udrlpg.command import COMMAND_SPACE
from sb3_udrl.udrlpg.own_command import ending_in, holding, to_ask_again
from sb3_udrl.udrlpg.played import MEASURED, NEW, PRACTICE, UNSTORED, PlayedPolicies
from sb3_udrl.udrlpg.policy import GeneratorPolicy
from sb3_udrl.udrlpg.policy_buffer import PolicyBuffer
from sb3_udrl.udrlpg.practice import values_to_practice
from sb3_udrl.udrlpg.sampling import SAMPLINGS
from sb3_udrl.udrlpg.spaces import check_flat, flat_inputs

_MAX_EVALUATIONS = 20  # episodes after which a policy's return is known well enough
_MAX_MEASURED = 200  # episodes on the score card; more would tell little
_NOISE_SPREAD = 0.3  # deviation of the logarithm of the noise, so that some policies stay closer than others


class UDRLPG(CommandedAlgorithm):
    """
    Upside-Down Reinforcement Learning with Policy Generators (UDRLPG): a generator maps a desired return to the weights of a
    whole policy. It learns by regression on the policies that were tried, each with the return that it earned, and is then
    asked for more, with noise on the weights (arXiv 2501.16288). There is no critic and no policy gradient.

    :param policy: ``"MlpPolicy"``, or a class: a :class:`~sb3_udrl.udrlpg.GeneratorPolicy`
    :param env: the environment to learn from, or its id; its observations must be flat, its episodes must end
    :param learning_rate: learning rate of the generator, or a function of the remaining progress (from 1 to 0)
    :param buffer_size: number of policies that are kept
    :param learning_starts: steps of warm-up, from which observations are standardized; its episodes are not learned from
    :param batch_size: policies per gradient step
    :param train_freq: train every so many steps of the vectorized environment, or ``(n, "step")`` or ``(n, "episode")``
    :param gradient_steps: gradient steps per training; below one, a share of the steps that were collected since the last
        training; -1 for as many as these
    :param initial_policies: number of random policies before the first training
    :param noise: deviation of the noise on generated weights, in units of each weight's initial scale
    :param reevaluation: share of the episodes in which the most promising stored policy is evaluated again; at the end, the
        most promising command
    :param practice: share of the other episodes that are played without noise, by policies for any return that was seen, so
        that these are learned to be delivered
    :param measuring: share of training, at its end, in which the generator learns no more and all episodes are such practice:
        they make the score card, by which commands are corrected from then on, and the model's own command is chosen
    :param episodes_per_policy: number of episodes that each new policy plays
    :param survival_bonus: reward that is paid for each step that an episode goes on, which is not counted in comparing
        policies: else standing still is better than a walk that ends. Commands and all that is reported are returns with it
    :param sampling: which policies are learned from: ``"weighted_bands"`` of return, the higher the more often;
        ``"even_bands"``; ``"weighted"`` by rank without bands; ``"uniform"``. A quarter are those of practice in any case
    :param command_sampler: who decides what is asked for: ``"beyond_best"``, ``"adaptive"``, ``"joint"``,
        ``"mean_plus_std"``, ``"fixed"``, ``"quantile"``, ``"curriculum"`` or a ``CommandSampler`` class
    :param command_sampler_kwargs: its arguments
    :param max_episode_steps: an episode that has not ended after so many steps is an error
    :param policy_kwargs: arguments of the policy
    :param stats_window_size: episodes over which reported figures are averaged, and on which command samplers look back
    :param tensorboard_log: folder for TensorBoard logs, none if None
    :param verbose: 0 for no output, 1 for info, 2 for debug messages
    :param seed: seed of all random generators
    :param device: device of the generator; generated policies act on the CPU
    :param _init_setup_model: whether to build the network when the instance is created
    :raises ValueError: if an argument is out of its range
    :raises NotImplementedError: if observations are not flat
    """

    policy: GeneratorPolicy
    hindsight: PolicyBuffer
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": GeneratorPolicy}

    def __init__(
        self,
        policy: str | type[GeneratorPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 10_000,
        learning_starts: int = 1_000,
        batch_size: int = 128,
        train_freq: int | tuple[int, str] = (16, "episode"),
        gradient_steps: int | float = 0.02,
        initial_policies: int = 16,
        noise: float = 0.5,
        reevaluation: float = 0.2,
        practice: float = 0.2,
        measuring: float = 0.1,
        episodes_per_policy: int = 1,
        survival_bonus: float = 0.0,
        sampling: str = "weighted_bands",
        command_sampler: str | type[CommandSampler] = "beyond_best",
        command_sampler_kwargs: dict[str, Any] | None = None,
        max_episode_steps: int = 100_000,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if env is None and _init_setup_model:
            raise ValueError("env=None: give an environment, or its id")
        observation_space = getattr(env, "observation_space", None)
        if observation_space is not None:  # before SB3 recommends policies that there are not
            check_flat(observation_space)
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            command_sampler=command_sampler,
            command_sampler_kwargs=command_sampler_kwargs,
            max_episode_steps=max_episode_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
        )
        self.initial_policies, self.noise = initial_policies, noise
        self.reevaluation, self.practice, self.measuring = reevaluation, practice, measuring
        self.episodes_per_policy, self.survival_bonus, self.sampling = episodes_per_policy, survival_bonus, sampling
        if _init_setup_model:
            self._setup_model()

    def _setup_envs(self) -> None:
        super()._setup_envs()
        self._played = PlayedPolicies(self.n_envs, self.policy.network.n_weights)
        self._undecided = np.zeros(self.n_envs, dtype=np.bool_)

    def make_command_space(self) -> CommandSpace:
        return COMMAND_SPACE

    def make_hindsight(self) -> PolicyBuffer:
        n_weights = self.policy.network.n_weights
        stored = vars(self).pop("hindsight", None)
        policies = PolicyBuffer(self.buffer_size, n_weights, self.command_space, self.survival_bonus, self.sampling, self.rng)
        return policies if stored is None else policies.restored(stored)

    def check_arguments(self) -> None:
        if not issubclass(self.policy_class, GeneratorPolicy):
            raise ValueError(
                f'policy={self.policy_class.__name__}: choose "MlpPolicy", or derive a class from GeneratorPolicy'
            )
        check_at_least(self, {"initial_policies": 2, "episodes_per_policy": 1, "buffer_size": 2}, whole=True)
        if self.initial_policies > self.buffer_size:
            raise ValueError(f"initial_policies={self.initial_policies}: must be at most buffer_size={self.buffer_size}")
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise={self.noise}: must be finite and at least 0")
        for name in ("reevaluation", "practice", "measuring"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 0 and below 1")
        if not np.isfinite(self.survival_bonus):
            raise ValueError(f"survival_bonus={self.survival_bonus}: must be finite")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling={self.sampling!r}: choose one of {sorted(SAMPLINGS)}")
        super().check_arguments()

    # Acting

    def choose_actions(self) -> NDArray[Any]:
        """Actions of the policy that each environment's episode is played by."""
        if self._undecided.any():
            undecided, self._undecided = self._undecided, np.zeros(self.n_envs, dtype=np.bool_)
            self._decide(undecided)
        observations: Any = self._last_obs
        scale = self.policy.input_scale
        if not scale.frozen:
            inputs = flat_inputs(observations, self.observation_space)
            dtype = th.float64 if observations.dtype == np.float64 else th.float32
            scale.update(inputs, dtype)
        return self.policy.act_with(self._played.weights, observations)

    def begin_episodes(self, starts: NDArray[np.bool_]) -> None:
        self._undecided = self._undecided | starts  # until their first action, so that a training in between counts

    def _decide(self, starts: NDArray[np.bool_]) -> None:
        """Choose the policies that play the episodes which start in some environments."""
        self._end_warm_up()
        played = self._played
        again = starts & (played.left > 0) & (played.numbers >= 0)  # new policies that play several episodes
        played.left[again] -= 1
        if again.any():
            self._running.begin(again, None)
        starts = starts & ~again
        if not starts.any():
            return
        if self._n_updates == 0:
            n = int(starts.sum())
            self._play(starts, self.policy.network.initial(n, self.rng), NEW if self.policy.input_scale.frozen else UNSTORED)
            self._running.begin(starts, None)
            return
        if not self._is_finished:
            starts = starts & ~self._evaluate_again(starts)
        starts = starts & ~self._practice(starts)
        if starts.any():
            self._try_beyond(starts)

    def _end_warm_up(self) -> None:
        """From here on, the same weights make the same policy: statistics of observations stay as they are."""
        if not self.warming_up and self.policy.input_scale.n_seen > 0:
            self.policy.input_scale.freeze()
        if self.policy.input_scale.frozen and self._vec_normalize_env is not None:
            self._vec_normalize_env.training = False

    def _play(self, envs: NDArray[np.bool_], weights: NDArray[np.float32], number: int) -> None:
        """Play the episodes that start in some environments by given policies."""
        self._played.weights[envs] = weights
        self._played.numbers[envs] = number
        self._played.left[envs] = self.episodes_per_policy - 1 if number in (NEW, PRACTICE) else 0

    @property
    def _is_finished(self) -> bool:
        """Whether the generator learns no more in this run, and is measured."""
        left, whole = self._total_timesteps - self.num_timesteps, self._total_timesteps - self._run_began
        return self._n_updates > 0 and left < self.measuring * whole

    def _evaluate_again(self, starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Let the most promising policies play some of the episodes that start. Which ones."""
        policies, again = self.hindsight, np.zeros(self.n_envs, dtype=np.bool_)
        for env in np.flatnonzero(starts & (self.rng.random(self.n_envs) < self.reevaluation)):
            number = policies.most_promising(self._played.numbers[~starts | again], _MAX_EVALUATIONS)
            if number is not None:
                again[env] = True
                self._play(np.arange(self.n_envs) == env, policies.weights_of(number), number)
        if again.any():
            self._running.begin(again, None)
        return again

    def _practice(self, starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Play some of the episodes that start by policies without noise, for any return that was seen. Which ones."""
        policies, scale = self.hindsight, self.policy.return_scale
        share = 1.0 if self._is_finished else self.practice
        practice = starts & (self.rng.random(self.n_envs) < share) & (policies.n_episodes > 0)
        n = int(practice.sum())
        if n:
            known = np.zeros(0) if self._is_finished else policies.practiced_values()  # measured evenly
            returns = scale.returns_of(values_to_practice(policies.values(), known, n, self.rng))
            if self._is_finished:
                returns = self._measured_again(returns)
            command = self.policy.initial_command(n, {"return": returns})
            self._play(practice, self.policy.generate(command["return"]), MEASURED if self._is_finished else PRACTICE)
            self._running.begin(practice, command)
        return practice

    def _measured_again(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Some of the returns that are to be measured replaced by the one that may bring the most."""
        asked, achieved = self.score_card.episodes("return", True)
        again = self.rng.random(len(returns)) < self.reevaluation
        if not len(asked):  # first of all, what is taken for the best
            again[0] = True
            chosen = self._chosen_command if self._command_is_fixed else None
            return np.where(again, chosen["return"] if chosen else self.policy.own_command()["return"], returns)
        command = to_ask_again(asked, achieved, _MAX_EVALUATIONS)
        return returns if command is None else np.where(again, command, returns)

    def _try_beyond(self, starts: NDArray[np.bool_]) -> None:
        """Play new policies: those generated for what the command sampler asks, with noise."""
        known = self.replay_buffer.n_episodes > 0  # else the model was loaded without its policies
        command = self._sampled_command(starts) if known else self.policy.initial_command(int(starts.sum()))
        generated = self.policy.generate(command["return"])
        size = self.noise * np.exp(_NOISE_SPREAD * self.rng.standard_normal((len(generated), 1), np.float32))
        weights = generated + size * self.policy.network.initial(len(generated), self.rng)
        self._play(starts, weights, NEW)
        self._running.begin(starts, command)

    # Learning

    def store(self, episode: Episode, env: int) -> None:
        played, policies = self._played, self.hindsight
        number, total = int(played.numbers[env]), float(episode.rewards.sum(dtype=np.float64))
        if number == UNSTORED:
            return
        if number >= 0 and policies.evaluate_again(number, total, len(episode)):
            return
        played.numbers[env] = policies.add(played.weights[env], total, len(episode), number in (PRACTICE, MEASURED))
        if number == NEW and not self._running.warm_up[env]:  # practice says nothing of what the sampler asks for
            self.outcomes.add(self.command_space, self._running.asked.rows([env]), episode)
        if number == MEASURED and self._is_finished and len(self.score_card) < _MAX_MEASURED:
            self._measure(float(self._running.asked["return"][env]), total)

    def _measure(self, asked: float, achieved: float) -> None:
        """Note on the score card what was delivered, correct commands by it, and begin with what brought the most."""
        card = self.score_card.with_episode({"return": asked}, {"return": achieved}, greedy=True)
        self.score_card, episodes = card, card.episodes("return", True)
        best = holding(*episodes)
        if len(card) < ENOUGH or best is None:
            return
        points = ending_in(calibration(*episodes), *best, lowest=float(episodes[0].min()))
        for greedy in (False, True):  # generated policies draw nothing
            self.policy.correct(greedy, points)
        self.begin_with(best[1])

    def due_gradient_steps(self, n_collected: int) -> int:
        return 0 if self._is_finished else super().due_gradient_steps(n_collected)

    def fit(self, gradient_steps: int, batch_size: int, learning_rate: float) -> FitReport:
        if self.hindsight.n_episodes < self.initial_policies or gradient_steps == 0:
            return FitReport(0, {})
        self.score_card = ScoreCard()  # of the generator as it was
        for greedy in (False, True):
            self.policy.correct(greedy, None)
        return self.policy.fit(self.hindsight, FitOptions(gradient_steps, batch_size, learning_rate))

    def remember(self) -> None:
        super().remember()
        self.policy.remember_best(self.hindsight)

    def choose_own_command(self) -> None:
        if not self._is_finished:  # the generator knows nothing of what it is told no more
            super().choose_own_command()

    def dump_logs(self, iterations: int = 0) -> None:
        policies = self.hindsight
        if policies.n_episodes:
            best = policies.best(1)[0]
            self.logger.record("policies/best_return", policies.returns[best])
            self.logger.record("policies/best_error", policies.errors()[best])
            self.logger.record("policies/best_episodes", int(policies.counts[best]))
        if self.ep_info_buffer:
            self.logger.record("rollout/ep_rew_var", np.var([info["r"] for info in self.ep_info_buffer]))
        super().dump_logs(iterations)

    # Results

    def generate_policy(self, desired_return: float) -> ActorCriticPolicy:
        """
        The policy for a return, as an ordinary policy of SB3 that works without this package. It takes what :meth:`predict`
        takes: where there is a ``VecNormalize``, normalized observations.

        :param desired_return: of a whole episode
        :raises ValueError: if it is not finite
        :raises NotImplementedError: if policies of SB3 do not know the spaces
        """
        return self.policy.generate_policy(desired_return)

    def best_policy(self) -> ActorCriticPolicy:
        """
        The best policy that was met, as an ordinary policy of SB3.

        :raises ValueError: if nothing was learned yet
        """
        return self.policy.best_policy()

    # Resuming

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_played", "_undecided"]

    def further_state(self) -> dict[str, Any]:
        scale = self.policy.input_scale.state()
        return {"played": self._played.state(), "undecided": self._undecided, "input_scale": scale}

    def restore_further(self, state: Mapping[str, Any], same_envs: bool) -> Callable[[], None]:
        played, undecided = self._played, self._undecided
        if same_envs:
            played = played.restored(state["played"])
            undecided = checked_array(state, "undecided", (self.n_envs,), "b").copy()
        scale = self.policy.input_scale.checked(state["input_scale"])

        def commit() -> None:
            self._played, self._undecided = played, undecided
            self.policy.input_scale.load_state_dict(scale)

        return commit
