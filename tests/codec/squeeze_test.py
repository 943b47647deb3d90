import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sounds
import tiny

from sorajax.codec import plain
from sorajax.codec.lapped import fit_lapped
from sorajax.codec.past import Past
from sorajax.codec.squeeze import Squeeze, SqueezeConfig, from_linear, lapped, padded, unlapped

TINY = sounds.SQUEEZE
HOP = TINY.geometry.hop_samples


def encode(config, params, audio, carried=None):
  past = Past(carried)
  return plain.joined(Squeeze, config, params).encode(audio, past), past.carried


def decode(config, params, latents, carried=None):
  past = Past(carried)
  return plain.joined(Squeeze, config, params).decode(latents, past), past.carried


encode_jit = tiny.quick_jit(encode, static_argnums=0)
decode_jit = tiny.quick_jit(decode, static_argnums=0)


def params() -> plain.Params:
  made = sounds.drawn(Squeeze, TINY)
  return {**made, 'weight': np.linspace(0.5, 2, TINY.frame_samples, dtype=np.float32)}


def audio(latents: int = 6) -> np.ndarray:
  return sounds.noise(latents * HOP)[None]


def in_chunks(step, x, cuts):
  made, carried = [], None
  for chunk in np.split(x, cuts, axis=1):
    part, carried = step(TINY, params(), chunk, carried)
    made.append(part)
  return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *made)


@pytest.mark.parametrize('N', [1, 8])
def test_the_lapped_transform_loses_nothing(N):
  x = sounds.noise(6 * N)[None]
  made = unlapped(lapped(np.pad(x, ((0, 0), (0, N), (0, 0))), N, Past()), Past())
  np.testing.assert_allclose(made, x, atol=1e-6)


@pytest.mark.parametrize('cuts', [[1, 2, 5], [4]], ids=str)
def test_coding_in_chunks_is_coding_the_whole(cuts):
  whole, _ = encode_jit(TINY, params(), audio())
  made = in_chunks(encode_jit, audio(), [c * HOP for c in cuts])
  for a, b in zip(made, whole):
    np.testing.assert_allclose(a, b, atol=1e-5)
  sound, _ = decode_jit(TINY, params(), whole[0])
  assert sound.shape == (1, 6 * HOP - TINY.frame_samples, 2)
  np.testing.assert_allclose(in_chunks(decode_jit, whole[0], cuts), sound, atol=1e-5)


def test_a_latent_hears_its_samples_and_the_past_alone():
  (before, _), _ = encode_jit(TINY, params(), audio())
  for at in (0, HOP - 1, HOP, 3 * HOP + 1):
    other = audio()
    other[:, at] += 1
    (after, _), _ = encode_jit(TINY, params(), other)
    changed = np.any(np.asarray(before != after)[0], axis=-1)
    assert changed.argmax() == at // HOP


def test_samples_hear_their_latent_and_the_past_alone():
  latents = np.array(encode_jit(TINY, params(), audio())[0][0])
  before, _ = decode_jit(TINY, params(), latents)
  for at in range(6):
    other = latents.copy()
    other[:, at] += 1
    after, _ = decode_jit(TINY, params(), other)
    first = np.any(np.asarray(before != after)[0], axis=-1).argmax()
    assert first == max(at * HOP - TINY.frame_samples, 0)


def test_a_hop_later_is_a_latent_later():
  """From the very start: before the sound there is silence, and silence is the zero latent."""
  (a, _), _ = encode_jit(TINY, params(), audio())
  (b, _), _ = encode_jit(TINY, params(), np.pad(audio()[:, :-HOP], ((0, 0), (HOP, 0), (0, 0))))
  assert not np.any(b[:, 0])
  np.testing.assert_allclose(b[:, 1:], a[:, :-1], atol=1e-5)


def test_silence_stays_silent_and_so_does_a_zero_network():
  silence = np.zeros_like(audio())
  zero = jax.tree.map(np.zeros_like, params())
  zero = {**zero, 'weight': params()['weight']}
  for p, x in ((params(), silence), (zero, audio())):
    (mean, _), _ = encode_jit(TINY, p, x)
    sound, _ = decode_jit(TINY, p, mean)
    assert not np.any(mean) and not np.any(sound)


def test_a_louder_sound_has_larger_latents_and_the_other_way_round():
  (mean, _), _ = encode_jit(TINY, params(), audio())
  for gain in (1e-2, 30):
    (louder, _), _ = encode_jit(TINY, params(), np.float32(gain) * audio())
    np.testing.assert_allclose(louder, gain * mean, rtol=1e-3, atol=1e-5 * gain)
    sound = [decode_jit(TINY, params(), z)[0] for z in (mean, gain * mean)]
    np.testing.assert_allclose(sound[1], gain * sound[0], rtol=1e-3, atol=1e-5 * gain)


def fitted():
  clips = [sounds.noise(400, seed=s) * np.linspace(0.1, 1, 2, dtype=np.float32) for s in range(3)]
  clips = [c - c.mean() for c in clips]
  return fit_lapped(clips, TINY.geometry, TINY.group, whiten=0.5)


def test_it_may_begin_as_the_linear_codec():
  linear = fitted()
  linear = dataclasses.replace(
    linear, pca=dataclasses.replace(linear.pca, mean=0 * linear.pca.mean)
  )
  with tiny.initialised_by_waves:
    p = from_linear(plain.initial(Squeeze, TINY, jax.random.key(0)), TINY, linear)
  x = sounds.noise(75)
  (mean, _), _ = encode_jit(TINY, p, padded(x[None], TINY.geometry))
  np.testing.assert_allclose(mean[0], linear.encode(x), atol=1e-5)
  sound, _ = decode_jit(TINY, p, mean)
  np.testing.assert_allclose(sound[0, :75], linear.decode(np.asarray(mean[0]), 75), atol=1e-5)
  with tiny.refused('fit it anew'):
    from_linear(p, dataclasses.replace(TINY, width=9, channels=4), linear)


def test_everything_learns_but_the_weight():
  def loss(p):
    module = plain.joined(Squeeze, TINY, p)
    mean, logvar = module.encode(audio(), Past())
    return jnp.sum(logvar**2) + jnp.sum(module.decode(mean, Past()) ** 2)

  gradient = plain.flat(tiny.quick_jit(jax.grad(loss))(params()))
  assert {n for n, g in gradient.items() if not g.any()} == {'weight'}


def test_the_default_is_small():
  shapes = jax.tree.leaves(plain.shapes(Squeeze, SqueezeConfig()))
  assert sum(int(np.prod(s.shape)) for s in shapes) == 2_976_096


def test_sizes_of_nothing_are_refused():
  with pytest.raises(ValueError, match='sizes must be above 0, and the least is 0'):
    SqueezeConfig(width=0)
