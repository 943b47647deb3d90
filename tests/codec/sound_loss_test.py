import functools

import jax
import numpy as np
import pytest

from sorajax.codec import sound_loss as loss

A, B = np.random.default_rng(0).uniform(-1, 1, (2, 2, 3000, 1)).astype(np.float32)
DISTANCES = {
  'waveform': loss.waveform,
  'spectra': loss.spectra,
  'convergence': loss.convergence,
  'mel': functools.partial(loss.mel, sample_rate_hz=16_000),
  'smooth spectra': functools.partial(loss.spectra, smooth=True),
  'smooth mel': functools.partial(loss.mel, sample_rate_hz=16_000, smooth=True),
}
each = pytest.mark.parametrize('distance', DISTANCES.values(), ids=DISTANCES)
RATE_HZ = 16_000


def tone(hz: float, amplitude: float = 0.5, phase: float = 0.0) -> np.ndarray:
  seconds = np.arange(4000) / RATE_HZ
  return (amplitude * np.sin(2 * np.pi * hz * seconds + phase)).astype(np.float32)[None, :, None]


@each
def test_a_sound_is_no_distance_from_itself_and_some_from_another(distance):
  assert distance(A, A) < 1e-4 < distance(A, B)


@each
def test_sounds_of_a_batch_count_alike(distance):
  apart = [distance(A[i : i + 1], B[i : i + 1]) for i in range(2)]
  np.testing.assert_allclose(distance(A, B), np.mean(apart), rtol=1e-5)


@each
def test_silence_and_a_sound_have_finite_gradients(distance):
  both = jax.jit(jax.value_and_grad(distance))
  for a, b in ((A * 0, A), (A, A * 0), (A * 0, A * 0)):
    value, slope = both(a, b)
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize('name', ['spectra', 'mel'])
def test_a_sound_below_the_floor_learns_to_be_louder_where_logarithms_are_smooth(name):
  slope = lambda distance: jax.grad(lambda level: distance(level * B, A))(1e-8)
  assert slope(DISTANCES[name]) == 0 > slope(DISTANCES[f'smooth {name}'])


def test_spectra_do_not_mind_phase_and_waveforms_do():
  a, b = tone(1000), tone(1000, phase=1.0)
  assert loss.convergence(a, b) < 0.1 * loss.convergence(tone(1500), b)
  assert loss.waveform(a, b) > 0.1


def test_a_full_sine_has_amplitude_1():
  amplitude = loss._amplitude(tone(1000, 1.0), 1024)[0, 4:-4, :, 0]
  np.testing.assert_allclose(amplitude.max(axis=1), 1, atol=0.01)


def test_half_as_loud_is_log_2_in_mels():
  a, b = 0.2 * A[:, 1000:2000], 0.1 * A[:, 1000:2000]
  np.testing.assert_allclose(loss.mel(a, b, RATE_HZ), np.log(2), rtol=1e-3)
