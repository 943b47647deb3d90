import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import noisy, refused

from sorajax.codec import plain
from sorajax.codec.upsampler import RATIOS, Enlarger, Upsampler, UpsamplerConfig, thinned

SMALL = UpsamplerConfig(channels=3, width=32, blocks=1)
KINDS = [UpsamplerConfig(3, 32, 1, ratio) for ratio in RATIOS]
KINDS += [UpsamplerConfig(3, 32, 1, ratio, doubled=True) for ratio in ((1, 1), (2, 1))]


def params(config: UpsamplerConfig):
  return noisy(lambda: plain.initial(Upsampler, config, jax.random.key(0)), 0.05)


@pytest.mark.parametrize('config', KINDS, ids=lambda c: f'{c.ratio}{"×2" * c.doubled}')
@pytest.mark.parametrize('size', [(5, 12, 24), (1, 24, 12)])
def test_what_came_before_a_size_becomes_that_size(config, size):
  x = jax.ShapeDtypeStruct((1, *config.before(size), 3), jnp.float32)
  weights = plain.shapes(Upsampler, config)
  made = jax.eval_shape(lambda weights, x: plain.joined(Upsampler, config, weights)(x), weights, x)
  assert made.shape == (1, *size, 3)


@pytest.mark.parametrize(
  ('config', 'size', 'match'),
  [
    (SMALL, (3, 4, 5), '40 pixels in height or width cannot come of 1/2 as many; ask for 32 or 48'),
    (KINDS[1], (3, 1, 6), '8 pixels .* 2/3 as many; ask for 24 or 24'),
    (KINDS[4], (4, 2, 2), '4 frames of latents .* ask for 9 or 17 frames'),
  ],
)
def test_a_size_that_nothing_becomes_is_refused(config, size, match):
  with refused(match):
    config.before(size, (4, 8, 8))


@pytest.mark.parametrize(
  ('change', 'match'),
  [
    ({'width': 40}, 'multiple of 32'),
    ({'ratio': (5, 1)}, 'ratio is'),
    ({'ratio': (1, 1)}, 'neither'),
    ({'ratio': (3, 2), 'doubled': True}, 'where frames are doubled'),
  ],
)
def test_an_upsampler_that_cannot_be_is_refused(change, match):
  with pytest.raises(ValueError, match=match):
    UpsamplerConfig(**{'channels': 3, 'width': 32, 'blocks': 1, **change})


@pytest.mark.parametrize('factor', [1, 2, 4])
def test_thinning_keeps_what_is_even(factor):
  x = jnp.full((1, 2, 16, 16, 3), 0.7)
  inside = np.asarray(thinned(x, factor))[:, :, 1:-1, 1:-1]
  np.testing.assert_allclose(inside, 0.7, rtol=1e-6)


def test_latents_are_enlarged_as_the_codec_makes_them():
  """Of normalised latents, the upsampler sees what was before."""
  rng = np.random.default_rng(0)
  mean, scale = rng.standard_normal(3).astype('f4'), rng.uniform(0.5, 2, 3).astype('f4')
  raw = rng.standard_normal((2, 2, 3, 4, 3)).astype(np.float32)
  weights = params(SMALL)
  made = Enlarger(SMALL, weights, mean, scale)((raw - mean) / scale)
  bare = plain.joined(Upsampler, SMALL, weights)(jnp.asarray(raw))
  np.testing.assert_allclose(made * scale + mean, bare, atol=1e-4)
