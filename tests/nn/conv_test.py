import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.nn import conv as convolution
from sorajax.nn.conv import FORMS, choose, conv

SIZES = {'plain': (3, 3, 3), 'shifted': (3, 3, 3), 'folded': (3, 3, 3), 'matmul': (3, 1, 1)}


def drawn(kernel: tuple[int, int, int], frames: int = 5, dtype=np.float32):
  """x [2, F, 4, 3, 6] and a kernel to 5 channels."""
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, frames, 4, 3, 6))
  w = rng.standard_normal((*kernel, 6, 5)) / np.sqrt(6 * np.prod(kernel))
  return jnp.asarray(x, dtype), jnp.asarray(w, dtype)


def by_definition(x, w, padding):
  """The convolution as a sum over every position of the kernel, in float64."""
  x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
  (kt, kh, kw), (H, W) = w.shape[:3], x.shape[2:4]
  mode = {'zeros': 'constant'}.get(padding, padding)
  x = np.pad(x, ((0, 0), (0, 0), (kh // 2,) * 2, (kw // 2,) * 2, (0, 0)), mode=mode)
  n = x.shape[1] - kt + 1
  places = np.ndindex(kt, kh, kw)
  return sum(x[:, i : i + n, j : j + H, k : k + W] @ w[i, j, k] for i, j, k in places)


def largest(a, b) -> float:
  return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())


@pytest.mark.parametrize('padding', ['zeros', 'reflect', 'edge'])
@pytest.mark.parametrize('form', FORMS)
def test_every_form_is_the_definition(form, padding):
  x, w = drawn(SIZES[form])
  assert largest(conv(x, w, padding, form=form), by_definition(x, w, padding)) <= 1e-5


@pytest.mark.parametrize('kernel', [(3, 3, 3), (1, 3, 3), (3, 1, 1), (5, 3, 1), (1, 1, 1)], ids=str)
def test_every_form_has_the_values_and_gradients_of_the_plain_one(kernel):
  x, w = drawn(kernel)

  def run(form):
    def objective(x, w):
      y = conv(x, w, 'reflect', form=form)
      return (jnp.cos(jnp.arange(y.size).reshape(y.shape)) * y).sum(), y

    return tiny.quick_jit(jax.value_and_grad(objective, (0, 1), has_aux=True))(x, w)

  (_, wanted), slopes = run('plain')
  forms = [f for f in FORMS if f != 'plain' and (f != 'matmul' or kernel[1:] == (1, 1))]
  for form in forms:
    (_, y), (dx, dw) = run(form)
    assert largest(y, wanted) <= 1e-5, form
    assert largest(dx, slopes[0]) <= 1e-5 and largest(dw, slopes[1]) <= 1e-5 * w.size, form


@pytest.mark.parametrize('form', ['plain', 'shifted', 'folded'])
def test_bfloat16_stays_and_loses_no_more_than_its_digits(form):
  x, w = drawn((3, 3, 3), dtype=jnp.bfloat16)
  y = conv(x, w, form=form)
  assert y.dtype == jnp.bfloat16
  wanted = by_definition(x, w, 'zeros')
  assert largest(y, wanted) <= 2**-6 * np.abs(wanted).max()


def test_a_kernel_takes_the_type_of_the_activations():
  x, w = drawn((3, 3, 3))
  assert conv(x.astype(jnp.bfloat16), w).dtype == jnp.bfloat16


@pytest.mark.parametrize('frames', [0, 1, 2])
def test_fewer_frames_than_the_kernel_give_none(frames):
  x, w = drawn((3, 3, 3), frames=frames)
  assert conv(x, w).shape == (2, 0, 4, 3, 5)


def test_the_form_goes_by_platform_and_shape():
  for platform in ('tpu', 'gpu', 'cuda'):
    assert choose(platform, 64, (3, 3, 3, 64, 64)) == 'plain'
  wide = convolution.THIN + 1
  assert choose('cpu', wide, (3, 3, 3, wide, 64)) == 'shifted'
  assert choose('cpu', convolution.THIN, (3, 3, 3, convolution.THIN, 8)) == 'folded'
  assert choose('cpu', 64, (1, 1, 1, 64, 8)) == choose('tpu', 8, (3, 1, 1, 8, 8)) == 'matmul'
