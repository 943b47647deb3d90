import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.nn.conv import FORMS, choose, conv


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
@pytest.mark.parametrize('answers', [1, 3, 5])
@pytest.mark.parametrize('form', FORMS)
def test_every_form_is_the_definition(form, answers, padding):
  x, w = drawn((3, 3, 3), frames=answers + 2)
  assert largest(conv(x, w, padding, form=form), by_definition(x, w, padding)) <= 1e-5


@pytest.mark.parametrize('still', [1, 2])
@pytest.mark.parametrize('answers', [1, 2, 5])
@pytest.mark.parametrize('form', FORMS)
def test_frames_that_stand_still_count_as_often_as_they_are_there(form, answers, still):
  x, w = drawn((3, 3, 3), frames=answers + 2)
  x = jnp.concatenate([x[:, still : still + 1]] * still + [x[:, still:]], axis=1)
  assert largest(conv(x, w, still=still, form=form), by_definition(x, w, 'zeros')) <= 1e-5


def test_of_many_frames_that_stand_still_a_kernel_sees_its_own():
  x, w = drawn((3, 3, 3), frames=3)
  x = jnp.repeat(x[:, :1], 3, axis=1)
  assert largest(conv(x, w, still=9), by_definition(x, w, 'zeros')) <= 1e-5


@pytest.mark.parametrize('kernel', [(3, 3, 3), (1, 3, 3), (3, 1, 1), (5, 3, 1), (1, 1, 1)], ids=str)
def test_every_form_has_the_values_and_gradients_of_the_plain_one(kernel):
  x, w = drawn(kernel)

  def run(form):
    def objective(x, w):
      y = conv(x, w, 'reflect', form=form)
      return (jnp.cos(jnp.arange(y.size).reshape(y.shape)) * y).sum(), y

    return tiny.quick_jit(jax.value_and_grad(objective, (0, 1), has_aux=True))(x, w)

  (_, wanted), gradients = run('plain')
  fits = {'minimal': kernel[:2] == (3, 3), 'minimal_in_time': kernel[0] == 3}
  for form in (f for f in FORMS if fits.get(f, f != 'plain')):
    (_, y), (dx, dw) = run(form)
    assert largest(y, wanted) <= 1e-5, form
    assert largest(dx, gradients[0]) <= 1e-5 and largest(dw, gradients[1]) <= 1e-5 * w.size, form


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='elsewhere XLA knows by itself')
def test_on_a_cpu_products_keep_the_precision_asked_of_jax():
  x, w = drawn((1, 1, 1))
  rounded = lambda a: a.astype(jnp.bfloat16).astype(jnp.float32)
  with jax.default_matmul_precision('bfloat16'):
    y = conv(x, w)
  assert y.dtype == jnp.float32
  assert largest(y, by_definition(rounded(x), rounded(w), 'zeros')) <= 1e-5
  assert largest(y, by_definition(x, w, 'zeros')) > 1e-4


@pytest.mark.parametrize('form', ['plain', 'columns', 'stacked'])
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


@pytest.mark.parametrize('form', ['minimal', 'minimal_in_time'])
@pytest.mark.parametrize('frames', [4, 5, 8])
@pytest.mark.parametrize('channels', [64, 256])
def test_minimal_filtering_is_as_exact_with_many_channels(channels, frames, form):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.standard_normal((1, frames, 9, 7, channels)), jnp.float32)
  w = rng.standard_normal((3, 3, 3, channels, 64)) / np.sqrt(27 * channels)
  w = jnp.asarray(w, jnp.float32)
  assert largest(conv(x, w, form=form), by_definition(x, w, 'zeros')) <= 1e-5


def test_the_form_goes_by_platform_and_shape():
  x = lambda size, channels, frames=4, dtype=jnp.float32: jax.ShapeDtypeStruct(
    (1, frames, size, size, channels), dtype
  )
  for platform in ('tpu', 'gpu', 'cuda'):
    assert choose(platform, x(16, 64), (3, 3, 3, 64, 64)) == 'plain'
  assert choose('cpu', x(16, 64), (3, 3, 3, 64, 64)) == 'minimal'
  assert choose('cpu', x(16, 48), (3, 3, 3, 48, 64)) == 'minimal_in_time'  # narrow
  assert choose('cpu', x(7, 64, 40), (3, 3, 3, 64, 64)) == 'minimal_in_time'  # of few rows
  assert choose('cpu', x(32, 64, 3), (3, 3, 3, 64, 64)) == 'stacked'  # a single answer
  assert choose('cpu', x(16, 64, 4, jnp.bfloat16), (3, 3, 3, 64, 64)) == 'stacked'
  assert choose('cpu', x(4, 64), (3, 3, 3, 64, 64)) == 'columns'  # a small picture
  assert choose('cpu', x(8, 128), (3, 3, 3, 128, 128)) == 'columns'  # few positions
  assert choose('cpu', x(16, 64), (5, 3, 3, 64, 64)) == 'stacked'
  assert choose('cpu', x(16, 64), (1, 1, 1, 64, 8)) == 'columns'
  assert choose('tpu', x(16, 8), (3, 1, 1, 8, 8)) == 'columns'
