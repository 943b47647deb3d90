"""Distributions are compared by the largest gap between distribution functions, with the bound of
Dvoretzky, Kiefer & Wolfowitz at 1e-6: so often would a right sampler fail, were the seed not fixed.
"""

import math

import jax
import numpy as np
import pytest

from sorajax.flow import levels

COUNT = 100_000
GAP = math.sqrt(math.log(2 / 1e-6) / (2 * COUNT))

normal_cdf = np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))


def logit_normal_cdf(t: np.ndarray, mean: float, std: float) -> np.ndarray:
  t = np.clip(t, 1e-12, 1 - 1e-12)
  return normal_cdf((np.log(t / (1 - t)) - mean) / std)


def gap(sampler: levels.LevelSampler, cdf) -> float:
  drawn = np.sort(np.asarray(sampler(jax.random.key(0), (COUNT // 10, 10)), np.float64).reshape(-1))
  assert drawn[0] >= 0 and drawn[-1] <= 1
  expected = cdf(drawn)
  steps = np.arange(COUNT + 1) / COUNT
  return max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())


def test_uniform_levels():
  assert gap(levels.uniform, lambda t: t) < GAP


@pytest.mark.parametrize('mean, std', [(0.0, 1.0), (-0.8, 0.5), (1.0, 1.7)])
def test_logit_normal_levels(mean, std):
  assert gap(levels.logit_normal(mean, std), lambda t: logit_normal_cdf(t, mean, std)) < GAP


@pytest.mark.parametrize('share', [0.0, 0.1, 0.6, 1.0])
def test_a_mixture_takes_its_share_of_each(share):
  sampler = levels.mixed(levels.logit_normal(1.0, 0.5), levels.uniform, share)
  cdf = lambda t: (1 - share) * logit_normal_cdf(t, 1.0, 0.5) + share * t
  assert gap(sampler, cdf) < GAP


@pytest.mark.parametrize('mu', [-1.0, 0.0, 1.5])
def test_shifted_levels_are_the_levels_shifted(mu):
  """If t is even, shift(t, μ) ≤ s just where t ≤ shift(s, −μ)."""
  assert gap(levels.shifted(levels.uniform, mu), lambda s: levels.shift(s, -mu)) < GAP


def test_the_check_sees_another_distribution():
  assert gap(levels.uniform, lambda t: levels.shift(t, 0.05)) > GAP


def test_shift_keeps_the_ends_and_adds_up():
  t = np.linspace(0, 1, 101)
  np.testing.assert_allclose(levels.shift(t, 0.0), t, rtol=1e-15)
  for mu in (-2.0, 0.7, 3.0):
    assert levels.shift(0.0, mu) == 0 and levels.shift(1.0, mu) == 1
    assert (np.diff(levels.shift(t, mu)) > 0).all()
    np.testing.assert_allclose(levels.shift(levels.shift(t, mu), 0.9), levels.shift(t, mu + 0.9))
  assert (levels.shift(t[1:-1], 0.5) > t[1:-1]).all()


def test_shift_of_length_is_the_line_through_its_two_points():
  assert levels.shift_of_length(1024) == pytest.approx(0.95)
  assert levels.shift_of_length(4096) == pytest.approx(2.05)
  assert levels.shift_of_length(2560) == pytest.approx(1.5)
  assert levels.shift_of_length(8192) == pytest.approx(2.05 + (2.05 - 0.95) * 4096 / 3072)


@pytest.mark.parametrize('steps', [1, 4, 37])
@pytest.mark.parametrize('mu', [-1.0, 0.0, 2.05])
@pytest.mark.parametrize('start', [1.0, 0.6])
def test_times_fall_from_the_start_to_zero(steps, mu, start):
  times = levels.times(steps, mu, start)
  assert times.shape == (steps + 1,) and times.dtype == np.float32
  assert times[0] == np.float32(start) and times[-1] == 0 and (np.diff(times) < 0).all()


@pytest.mark.parametrize('mu', [0.0, 1.3])
@pytest.mark.parametrize('last', [0.1, 0.3])
def test_stretched_times_start_at_one_and_end_at_the_last(mu, last):
  times = levels.times(8, mu)
  out = levels.times(8, mu, last=last)
  assert out[0] == 1 and out[-1] == 0 and out[-2] == pytest.approx(last)
  assert (np.diff(out) < 0).all()
  ratio = (1 - out[1:-1]) / (1 - times[1:-1])
  np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
