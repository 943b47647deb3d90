import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx

from sorajax.codec.past import Past
from sorajax.codec.video import (
  Autoencoder,
  AutoencoderConfig,
  Level,
  into_channels,
  out_of_channels,
)

CONFIG = AutoencoderConfig(
  channels=6, patch=2, stem=8,
  encoder=(Level(8, 1), Level(16, 1, (1, 2, 2)), Level(16, 1, (2, 1, 1)), Level(32, 1, (2, 2, 2))),
  decoder=(Level(32, 1, (2, 2, 2)), Level(16, 1, (2, 1, 1)), Level(16, 1, (1, 2, 2)), Level(8, 1)),
)  # fmt: skip
MIRRORED = dataclasses.replace(CONFIG, encoder_edges='reflect', decoder_edges='reflect')
FACTORED = dataclasses.replace(CONFIG, factored=True)
KINDS = {'zeros': CONFIG, 'reflect': MIRRORED, 'factored': FACTORED}
FILM = np.random.default_rng(0).uniform(-1, 1, (2, 13, 16, 24, 3)).astype(np.float32)
PIECES = [[1, 4, 8], [5, 8], [13], [9, 4], [1, 4, 4, 4]]


@functools.cache
def model(config: AutoencoderConfig = CONFIG) -> Autoencoder:
  """With every bias and scale in play."""
  build = lambda: Autoencoder(config, rngs=nnx.Rngs(0))
  with tiny.initialised_by_waves:
    graphdef, state = nnx.split(build())
  params = tiny.noisy(lambda: nnx.to_pure_dict(state), size=0.15)
  return nnx.merge(graphdef, params)


@functools.cache
def coder(which: str, config: AutoencoderConfig = CONFIG):
  @tiny.quick_jit
  def run(x, carried):
    past = Past(carried)
    return getattr(model(config), which)(x, past), past.carried

  return run


def encode(film, config=CONFIG) -> np.ndarray:
  (mean, logvar), _ = coder('encode', config)(film, None)
  return np.concatenate([mean, logvar], axis=-1)


def decode(latents, config=CONFIG) -> np.ndarray:
  return np.asarray(coder('decode', config)(latents, None)[0])


def latents_of(frames: int) -> np.ndarray:
  return np.random.default_rng(1).standard_normal((2, frames, 2, 3, 6)).astype(np.float32)


def test_pixels_come_back_out_of_channels():
  for stride in ((1, 2, 2), (2, 1, 1), (2, 2, 2), (1, 4, 4)):
    x = np.random.default_rng(0).standard_normal((1, 4, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(out_of_channels(into_channels(x, stride), stride), x)


def test_sizes_are_those_that_the_config_says():
  assert CONFIG.stride == (4, 8, 8)
  assert encode(FILM).shape == (2, 4, 2, 3, 7)
  assert decode(latents_of(4)).shape == FILM.shape


@pytest.mark.parametrize('frames', PIECES, ids=str)
@pytest.mark.parametrize(
  'config', [CONFIG, MIRRORED, FACTORED], ids=['zeros', 'reflect', 'factored']
)
def test_encoding_in_pieces_is_encoding_the_whole(frames, config):
  made, carried, start = [], None, 0
  for count in frames:
    moments, carried = coder('encode', config)(FILM[:, start : start + count], carried)
    made.append(np.concatenate(moments, axis=-1))
    start += count
  np.testing.assert_allclose(np.concatenate(made, axis=1), encode(FILM, config), atol=1e-5)


@pytest.mark.parametrize('frames', [[1, 3], [2, 2], [1, 1, 1, 1], [3, 1]], ids=str)
def test_decoding_in_pieces_is_decoding_the_whole(frames):
  latents, made, carried, start = latents_of(4), [], None, 0
  for count in frames:
    piece, carried = coder('decode')(latents[:, start : start + count], carried)
    made.append(piece)
    start += count
  np.testing.assert_allclose(np.concatenate(made, axis=1), decode(latents), atol=1e-5)


def test_an_image_is_the_first_latent_frame_of_every_film_that_begins_with_it():
  np.testing.assert_allclose(encode(FILM[:, :1]), encode(FILM)[:, :1], atol=1e-5)
  np.testing.assert_allclose(decode(latents_of(4)[:, :1]), decode(latents_of(4))[:, :1], atol=1e-5)


@pytest.mark.parametrize('frame', [1, 5, 12])
def test_nothing_hears_of_later_frames(frame):
  other = FILM.copy()
  other[:, frame:] = 0
  changed = np.abs(encode(FILM) - encode(other)).max(axis=(0, 2, 3, 4)) > 1e-6
  first = 1 + (frame - 1) // 4
  assert not changed[:first].any() and changed[first:].all()
  latents = latents_of(4)
  later = latents.copy()
  later[:, first:] = 0
  changed = np.abs(decode(latents) - decode(later)).max(axis=(0, 2, 3, 4)) > 1e-6
  assert not changed[: 1 + 4 * (first - 1)].any() and changed[1 + 4 * (first - 1) :].any()


def test_a_decoder_that_is_not_causal_hears_of_later_frames():
  config = dataclasses.replace(CONFIG, causal_decoder=False)
  latents = latents_of(4)
  later = latents.copy()
  later[:, 3] = 0
  assert np.abs(decode(latents, config)[:, 0] - decode(later, config)[:, 0]).max() > 1e-6


def test_clips_of_a_batch_do_not_hear_each_other():
  np.testing.assert_allclose(encode(FILM[1:]), encode(FILM)[1:], atol=1e-5)


def test_a_fresh_decoder_is_quiet_and_every_parameter_has_a_gradient():
  net = Autoencoder(CONFIG, rngs=nnx.Rngs(0))
  graphdef, state = nnx.split(net)

  def loss(params):
    module = nnx.merge(graphdef, params)
    mean, logvar = module.encode(FILM, Past())
    return jnp.square(module.decode(mean, Past()) - FILM).mean() + jnp.square(logvar).mean()

  value, slopes = tiny.quick_jit(jax.value_and_grad(loss))(nnx.to_pure_dict(state))
  assert 0.3 < value < 3
  for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
    assert np.abs(slope).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
  'change, match',
  [
    ({'patch': 4, 'decoder': CONFIG.decoder[1:]}, 'shrinks by'),
    ({'stem': 7}, 'multiple of 4 that divides 28'),
  ],
)
def test_sizes_that_do_not_go_together_are_refused(change, match):
  with pytest.raises(ValueError, match=match):
    dataclasses.replace(CONFIG, encoder=CONFIG.encoder[1:], **change)
