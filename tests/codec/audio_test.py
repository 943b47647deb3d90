import dataclasses

import jax
import numpy as np
import pytest
import sounds
import tiny

from sorajax.codec import moments, plain
from sorajax.codec.audio import Autoencoder, AutoencoderConfig
from sorajax.codec.past import Past

TINY = dataclasses.replace(sounds.AUTOENCODER, multipliers=(1, 2, 1))
FRAMES = 13  # 4 latents


def encode(config, params, mel, carried=None):
  past = Past(carried)
  made = plain.joined(Autoencoder, config, params).encode(mel, past)
  return made, past.carried


def decode(config, params, latents, carried=None):
  past = Past(carried)
  return plain.joined(Autoencoder, config, params).decode(latents, past), past.carried


encode_jit = tiny.quick_jit(encode, static_argnums=0)
decode_jit = tiny.quick_jit(decode, static_argnums=0)


def mel(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
  shape = (1, frames, TINY.mels, TINY.audio_channels)
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def params() -> plain.Params:
  return sounds.drawn(Autoencoder, TINY)


def latents() -> np.ndarray:
  return np.array(encode_jit(TINY, params(), mel())[0][0])


def size(config: AutoencoderConfig) -> int:
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(plain.shapes(Autoencoder, config)))


def in_chunks(step, x, cuts):
  made, carried = [], None
  for chunk in np.split(x, cuts, axis=1):
    part, carried = step(TINY, params(), chunk, carried)
    made.append(part)
  return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *made)


@pytest.mark.parametrize('cuts', [[1, 5, 9], [8]], ids=str)
def test_encoding_in_chunks_is_encoding_the_whole(cuts):
  whole, _ = encode_jit(TINY, params(), mel())
  made = in_chunks(encode_jit, mel(), cuts)
  for a, b in zip(made, whole):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize('cuts', [[1, 2, 3], [3]], ids=str)
def test_decoding_in_chunks_is_decoding_the_whole(cuts):
  whole, _ = decode_jit(TINY, params(), latents())
  assert whole.shape == mel().shape
  np.testing.assert_allclose(in_chunks(decode_jit, latents(), cuts), whole, atol=1e-5)


def test_a_latent_hears_its_frames_and_the_past_alone():
  (before, _), _ = encode_jit(TINY, params(), mel())
  for frame in (0, 1, 4, 5, 12):
    other = mel()
    other[:, frame] += 1
    (after, _), _ = encode_jit(TINY, params(), other)
    first = np.any(np.asarray(before != after)[0], axis=-1).argmax()
    assert first == -(-frame // TINY.stride)


def test_a_frame_hears_its_latent_and_the_past_alone():
  before, _ = decode_jit(TINY, params(), latents())
  for latent in range(4):
    other = latents()
    other[:, latent] += 1
    after, _ = decode_jit(TINY, params(), other)
    first = np.any(np.asarray(before != after)[0], axis=(1, 2)).argmax()
    assert first == max(TINY.stride * latent - TINY.stride + 1, 0)


def test_a_stride_later_is_a_latent_later():
  """Far from the start, where the past is no longer the zeros before it."""
  long = mel(125)
  a, _ = encode_jit(TINY, params(), long[:, TINY.stride :])
  b, _ = encode_jit(TINY, params(), long[:, : -TINY.stride])
  assert np.abs(a[0][:, :2] - b[0][:, 1:3]).max() > 1e-3
  np.testing.assert_allclose(a[0][:, 24:30], b[0][:, 25:31], atol=1e-5)


def shapes_of(config: AutoencoderConfig, frames: int) -> tuple[tuple, tuple]:
  def both(params):
    (mean, _), _ = encode(config, params, np.zeros((1, frames, config.mels, 2), np.float32))
    return mean, decode(config, params, mean)[0]

  made = jax.eval_shape(both, plain.shapes(Autoencoder, config))
  return made[0].shape, made[1].shape


def test_lengths():
  for n, multipliers in ((1, (1, 2, 4)), (5, (1, 2, 4)), (2, (1,))):
    c = dataclasses.replace(TINY, multipliers=multipliers)
    frames = 1 + (n - 1) * c.stride
    assert shapes_of(c, frames) == ((1, n, c.channels), (1, frames, c.mels, 2))
    loose = dataclasses.replace(c, causal=False)
    assert shapes_of(loose, n * c.stride) == ((1, n, c.channels), (1, n * c.stride, c.mels, 2))


def test_only_what_hears_the_past_alone_streams():
  changes = [{}, {'causal': False}, {'norm': 'group', 'groups': 2}]
  changes += [{'attention_levels': (1,)}, {'middle_attention': True}]
  assert [dataclasses.replace(TINY, **c).streams for c in changes] == [True] + 4 * [False]


def test_ltx2_is_the_default_and_small_ones_are_natural():
  assert AutoencoderConfig().channels == 128 and size(AutoencoderConfig()) == 53_248_146
  small = AutoencoderConfig(audio_channels=1, mels=32, width=32, multipliers=(1, 2, 3))
  assert 1e6 < size(small) < 4e6 and small.channels == 64 and small.streams


def test_sizes_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='30 mels do not divide by the stride 4'):
    AutoencoderConfig(mels=30)
  with pytest.raises(ValueError, match='width 48 does not divide into 32 groups'):
    AutoencoderConfig(width=48, norm='group')


def test_the_divergence_is_zero_at_the_standard_normal_alone():
  mean, logvar = np.random.default_rng(0).standard_normal((2, 100))
  assert moments.kl(np.zeros(1), np.zeros(1)) == 0
  assert (moments.kl(mean, logvar) > 0).all()


def test_draws_have_the_moments():
  """Both within 5 standard errors: a false alarm in 10⁶ runs."""
  count = 40_000
  drawn = moments.draw(jax.random.key(0), np.full(count, 2, np.float32), np.log(9))
  assert abs(np.mean(drawn) - 2) < 5 * 3 / count**0.5
  assert abs(np.var(drawn) / 9 - 1) < 5 * (2 / count) ** 0.5
