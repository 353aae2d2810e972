"""Training to convergence: until episodes that were held out get no better."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import episode, hindsight, make_vec, parameters_of, probe_model, small_buffer, tiny_model
from probe_envs import Scripted, TwoArms

from sb3_udrl.policies import CommandPolicy, FitOptions


def policy_and_buffer(n_episodes=20, seed=0):
    """Actions that follow from the observation, and can be learned."""
    th.manual_seed(seed)
    buffer = small_buffer(10_000)
    rng = np.random.default_rng(0)
    for _ in range(n_episodes):
        new = episode(np.ones(10), first=int(rng.integers(-20, 20)))
        new.actions[:] = new.observations[:, 0] > 0
        buffer.add(new)
    policy = CommandPolicy(buffer.observation_space, buffer.action_space, lambda _: 3e-3, net_arch=[16])
    return policy, buffer


def options(gradient_steps=10_000, patience=3, validation_fraction=0.2, batch_size=32):
    return FitOptions(gradient_steps, batch_size, 3e-3, patience, validation_fraction)


def losses_of(policy, monkeypatch):
    seen = []
    original = policy._mean_loss

    def spying(examples):
        seen.append(original(examples))
        return seen[-1]

    monkeypatch.setattr(policy, "_mean_loss", spying)
    return seen


def test_it_stops_when_held_out_episodes_get_no_better(monkeypatch):
    policy, buffer = policy_and_buffer()
    losses = losses_of(policy, monkeypatch)
    report = policy.fit(hindsight(buffer), options())
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3  # and not one epoch more
    assert report.metrics["validation_loss"] == min(losses)
    assert report.n_updates == 5 * len(losses)  # 160 transitions in batches of 32
    assert report.metrics["accuracy"] > 0.9


def test_the_best_weights_are_kept(monkeypatch):
    """Those of the last epoch are worse."""
    policy, buffer = policy_and_buffer()
    seen = []
    original = policy._mean_loss

    def spying(examples):
        loss = original(examples)
        seen.append((loss, {name: value.clone() for name, value in policy.state_dict().items()}))
        return loss

    monkeypatch.setattr(policy, "_mean_loss", spying)
    policy.fit(hindsight(buffer), options())
    _, best = min(seen, key=lambda pair: pair[0])
    assert any((best[name] != value).any() for name, value in seen[-1][1].items())
    for name, value in policy.state_dict().items():
        assert (value == best[name]).all(), name


def test_the_number_of_steps_is_a_limit():
    policy, buffer = policy_and_buffer()
    assert policy.fit(hindsight(buffer), options(gradient_steps=7)).n_updates == 7
    assert policy.fit(hindsight(buffer), options(gradient_steps=0)).n_updates == 0


def test_held_out_episodes_are_not_learned_from(monkeypatch):
    """Episodes are either or: no transition of a held-out one is ever in a batch."""
    policy, buffer = policy_and_buffer()
    buffer.reset()
    for number in range(10):
        buffer.add(episode(np.ones(5), first=1000 * number))
    learned, held_out = set(), set()
    step, validation = policy._step, policy._mean_loss
    monkeypatch.setattr(policy, "_step", lambda obs, *rest: learned.update((obs[:, 0] // 1000).tolist()) or step(obs, *rest))
    monkeypatch.setattr(
        policy,
        "_mean_loss",
        lambda examples: held_out.update((examples[0][:, 0] // 1000).tolist()) or validation(examples),
    )
    policy.fit(hindsight(buffer), options(gradient_steps=50, validation_fraction=0.25))
    assert len(held_out) == 3 and len(learned) == 7 and not learned & held_out


@pytest.mark.parametrize("n_episodes", [1, 2])
def test_few_episodes_are_enough(n_episodes):
    policy, buffer = policy_and_buffer(n_episodes)
    report = policy.fit(hindsight(buffer), options(gradient_steps=50))
    assert 0 < report.n_updates <= 50 and np.isfinite(report.metrics["validation_loss"])


def test_a_loss_that_is_the_same_however_it_is_batched(monkeypatch):
    policy, buffer = policy_and_buffer()
    monkeypatch.setattr("sb3_udrl.policies.gradient_fit._LOOKED_AT", 7)
    examples = policy.to_tensors(hindsight(buffer).transitions(np.arange(20)))
    whole = policy.action_head.loss(policy(examples[0], examples[1]), examples[2]).item()
    assert policy._mean_loss(examples) == pytest.approx(whole, rel=1e-5)


def test_a_run_with_patience_learns():
    model = probe_model(make_vec(TwoArms), 1_000, patience=3, gradient_steps=500)
    actions = [int(model.predict(np.ones(1, np.float32), deterministic=True, command=(r, 1))[0]) for r in (0, 1)]
    assert actions == [0, 1]


def test_many_actions_are_batched_too():
    """More than 256 actions are stored in another type than fewer."""
    env = make_vec(Scripted, action_space=spaces.Discrete(300))
    model = tiny_model(env, patience=1)
    before = parameters_of(model)
    model.learn(64)
    assert any((before[name] != value).any() for name, value in parameters_of(model).items())
