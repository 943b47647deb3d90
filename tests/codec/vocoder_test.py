import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sounds
import tiny
from flax import nnx

from sorajax.codec import plain, resample, sound
from sorajax.codec.convolution import Upsampler
from sorajax.codec.mel import hann
from sorajax.codec.streams import Overlap
from sorajax.codec.vocoder import (
  CONSTANT,
  Vocoder,
  VocoderConfig,
  WideConfig,
  WideVocoder,
  flattened,
)
from sorajax.codec.vocos import FIRST_LEVEL, Vocos, VocosConfig

LEAKY = sounds.VOCODER
SNAKE = dataclasses.replace(
  LEAKY, activation='snakebeta', oversampling=2, ending='none', last_bias=False
)
WIDE = WideConfig(
  dataclasses.replace(LEAKY, ending='none'),
  dataclasses.replace(SNAKE, inputs=8, factors=(3, 4), sizes=(5, 4)),
  narrow_rate_hz=sounds.RATE_HZ, ratio=3, n_fft=16, hop_samples=4, mels=4,
)  # fmt: skip
VOCOS = VocosConfig(
  inputs=16, outputs=2, width=8, hidden=12, blocks=2, kernel=3, n_fft=24, factor=8
)
CASES = {'leaky': LEAKY, 'snake': SNAKE, 'wide': WIDE, 'vocos': VOCOS}
module_of = sound.vocoder_module


run = tiny.quick_jit(
  lambda config, params, mel: plain.joined(module_of(config), config, params)(mel),
  static_argnums=0,
)


def mel(config, frames: int) -> np.ndarray:
  shape = (1, frames, config.inputs)
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def params(config) -> plain.Params:
  """Of so quiet an ending that no sample is clipped."""
  quiet = lambda path, leaf: leaf * 0.005 if "['last']" in jax.tree_util.keystr(path) else leaf
  return jax.tree_util.tree_map_with_path(quiet, sounds.drawn(module_of(config), config))


@pytest.mark.parametrize('name', CASES)
def test_blocks_that_overlap_make_what_the_whole_makes(name):
  config = CASES[name]
  frames = mel(config, 4 * config.reach + 3)
  whole = np.asarray(run(config, params(config), frames))[0]
  assert whole.shape == (frames.shape[1] * config.factor, config.outputs)
  assert np.abs(whole).max() < 1
  one = lambda held: np.asarray(run(config, params(config), held[None]))[0]
  stream = Overlap(one, config.reach, 1, config.factor, config.outputs)
  made = [stream.push(part) for part in sounds.cut(frames[0], 5, seed=0)] + [stream.finish()]
  assert len(made[0]) or len(made[1]) or len(made[2])
  np.testing.assert_allclose(np.concatenate(made), whole, atol=1e-5)


@pytest.mark.parametrize('name', CASES)
def test_a_frame_is_heard_within_reach_and_nowhere_else(name):
  config = CASES[name]
  length, at = 2 * config.reach + 5, config.reach + 2
  before, other = mel(config, length), mel(config, length)
  other[:, at] += 1
  changed = run(config, params(config), before) != run(config, params(config), other)
  heard = np.flatnonzero(np.asarray(changed)[0].any(axis=1)) / config.factor
  assert at - config.reach <= heard.min() < at < heard.max() < at + config.reach + 1


def test_a_sound_is_heard_where_its_spectra_are_told():
  """The window of frame t has sample t·factor in its middle."""
  c, frames = VOCOS, 9
  sound_ = sounds.noise(frames * c.factor, c.outputs)
  padded = jnp.pad(sound_.T, ((0, 0), (c.n_fft // 2, c.n_fft // 2)))
  spectra = jnp.stack(
    [
      jnp.fft.rfft(padded[:, t * c.factor : t * c.factor + c.n_fft] * hann(c.n_fft))
      for t in range(frames)
    ]
  )  # [T, A, K]
  told = jnp.stack([jnp.log(jnp.abs(spectra)) - FIRST_LEVEL, jnp.angle(spectra)], axis=1)
  module = plain.joined(Vocos, c, params(c))
  made = module._waves(told[None])[0]
  until = (frames - 1) * c.factor
  np.testing.assert_allclose(made[:until], sound_[:until], atol=1e-5)


def test_everything_is_float32_whatever_comes():
  halves = jax.tree.map(lambda p: jnp.asarray(p, jnp.bfloat16), params(LEAKY))
  apply = lambda params, mel: plain.joined(Vocoder, LEAKY, params)(mel)
  frames = jnp.asarray(mel(LEAKY, 5), jnp.bfloat16)
  made = jax.make_jaxpr(apply)(halves, frames)
  assert made.out_avals[0].dtype == jnp.float32
  dots = [e for e in made.eqns if e.primitive.name == 'conv_general_dilated']
  assert dots and all('HIGHEST' in str(e.params['precision']) for e in dots)


def test_constant_parts_do_not_learn():
  loss = lambda p: jnp.sum(plain.joined(WideVocoder, WIDE, p)(mel(WIDE, 4)))
  gradient = plain.flat(tiny.quick_jit(jax.grad(loss))(params(WIDE)))
  still = {n for n, g in gradient.items() if not g.any()}
  assert still == {'basis', 'bank', 'extension/lowpass'}


def test_constant_parts_are_taken_out_and_put_back():
  rest, taken = plain.parted(params(WIDE), CONSTANT)
  assert plain.flat(taken).keys() == {'basis', 'bank', 'extension/lowpass'}
  assert not plain.flat(rest).keys() & plain.flat(taken).keys()
  again, before = plain.flat(plain.whole(rest, taken)), plain.flat(params(WIDE))
  assert again.keys() == before.keys()
  assert all((again[name] == before[name]).all() for name in before)


@tiny.quick_jit
def upsampled(x):
  """By 3, as the wide vocoder does."""
  taps = jnp.asarray(resample.hann_sinc(3))
  return resample.upsample(x, taps, 3, left=len(taps) // 2)


def test_an_extension_that_adds_nothing_leaves_the_resampled_sound():
  p = params(WIDE)
  last = jax.tree.map(np.zeros_like, p['extension']['last'])
  p = {**p, 'extension': {**p['extension'], 'last': last}}
  narrow = run(WIDE.narrow, p['narrow'], mel(WIDE, 6))
  wanted = upsampled(narrow)
  np.testing.assert_allclose(run(WIDE, p, mel(WIDE, 6)), wanted, atol=1e-5)


def tone(rate: int, samples: int, hz: float) -> np.ndarray:
  return np.sin(2 * np.pi * hz * np.arange(samples) / rate).astype(np.float32)[None, :, None]


def test_resampling_keeps_tones_below_half_the_rate():
  made = upsampled(tone(1000, 300, 130.0))
  np.testing.assert_allclose(made[:, 60:-60], tone(3000, 900, 130.0)[:, 60:-60], atol=5e-3)


def test_an_activation_that_does_nothing_leaves_low_tones_alone():
  taps = jnp.asarray(resample.kaiser_sinc(2, 12))
  x = tone(1000, 200, 60.0)
  same = tiny.quick_jit(lambda x: resample.anti_aliased(lambda x: x, x, taps, 2))
  made = same(x)
  np.testing.assert_allclose(made[:, 20:-20], x[:, 20:-20], atol=2e-2)
  np.testing.assert_allclose(same(np.ones_like(x)), 1, atol=5e-3)


def test_overtones_do_not_fold_back():
  """Squaring 300 Hz at 1 kHz makes 600 Hz, which folds to 400 Hz unless it is taken out."""
  x = tone(1000, 400, 300.0)
  level = lambda y: np.abs(np.fft.rfft(np.asarray(y)[0, 100:300, 0]))[80]  # at 400 Hz
  for size, most in ((12, 0.5), (48, 0.1)):
    taps = jnp.asarray(resample.kaiser_sinc(2, size))
    square = tiny.quick_jit(lambda x: resample.anti_aliased(lambda x: x * x, x, taps, 2))
    filtered = square(x)
    assert level(filtered) < most * level(x * x)


@pytest.mark.parametrize(('size', 'factor'), [(7, 3), (2, 2)])
def test_a_transposed_convolution_spreads_each_frame(size, factor):
  kernel = np.random.default_rng(0).standard_normal((size, 2, 3)).astype(np.float32)
  x = np.random.default_rng(1).standard_normal((1, 5, 2)).astype(np.float32)
  spread = np.zeros((4 * factor + size, 3))
  for t in range(5):
    spread[t * factor : t * factor + size] += np.einsum('i,kio->ko', x[0, t], kernel)
  left = (size - factor) // 2
  with tiny.initialised_by_waves:
    up = Upsampler(2, 3, size, factor, rngs=nnx.Rngs(0))
  up.kernel[...], up.bias[...] = jnp.asarray(kernel), jnp.ones(3)
  np.testing.assert_allclose(
    tiny.quick_jit(up.__call__)(x)[0], 1 + spread[left : left + 5 * factor], atol=1e-5
  )


def test_channels_lie_side_by_side():
  made = flattened(np.arange(12).reshape(1, 2, 3, 2))  # [B, T, F, A]
  np.testing.assert_array_equal(made, [[[0, 2, 4, 1, 3, 5], [6, 8, 10, 7, 9, 11]]])


def test_the_released_ones_are_the_defaults():
  assert VocoderConfig().factor == 240 and WideConfig().factor == 480
  shapes = jax.tree.leaves(plain.shapes(Vocoder, VocoderConfig()))
  assert sum(int(np.prod(s.shape)) for s in shapes) == 55_592_802


def test_sizes_that_do_not_fit_are_refused():
  cases = {
    '2 factors for 1 sizes': lambda: dataclasses.replace(LEAKY, sizes=(8,)),
    'size 7 less factor 4 must be even': lambda: dataclasses.replace(LEAKY, sizes=(7, 4)),
    'must be odd': lambda: dataclasses.replace(LEAKY, kernels=(4,)),
    '1 kernels for 2 dilations': lambda: dataclasses.replace(LEAKY, dilations=((1,), (1,))),
    'n_fft 24 must be even and at least': lambda: dataclasses.replace(VOCOS, factor=16),
    'kernel 2 must be odd': lambda: dataclasses.replace(VOCOS, kernel=2),
    r'makes 12 samples a hop, not 4 · 2': lambda: dataclasses.replace(WIDE, ratio=2),
    r'reads 8 values, not 5 mels · 2': lambda: dataclasses.replace(WIDE, mels=5),
  }
  for match, make in cases.items():
    with pytest.raises(ValueError, match=match):
      make()
