import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.flow import guidance

SHAPES = {'audio': (2, 7, 3), 'video': (2, 11, 5)}


def numbers(seed: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {m: rng.standard_normal(shape).astype(np.float32) for m, shape in SHAPES.items()}


def field(seed: int):
  """A velocity that depends on x and t."""
  a = numbers(seed)
  return lambda x, t: {m: jnp.sin(a[m] + x[m]) + t[m] * a[m] for m in x}


with_text, without = field(1), field(2)
X = numbers(3)
T = {'audio': jnp.float32(0.6), 'video': jnp.float32(0.4)}


def at(t: float) -> dict[str, jnp.ndarray]:
  """One level for both streams."""
  return dict.fromkeys(SHAPES, jnp.float32(t))


def guided(video: float, audio: float, rescale: float = 0.0):
  push = {'video': video - 1, 'audio': audio - 1}
  return guidance.guided(with_text, [(without, push)], rescale)(X, T)


def assert_same(a, b, atol=1e-5):
  for m in SHAPES:
    np.testing.assert_allclose(a[m], b[m], atol=atol)


def test_scale_one_is_the_conditional_and_zero_the_unconditional():
  assert_same(guided(1, 1), with_text(X, T), atol=0)
  assert_same(guided(0, 0), without(X, T))


def test_guidance_is_linear_in_its_scale():
  steps = [guided(s, s) for s in (1, 2, 3)]
  for m in SHAPES:
    np.testing.assert_allclose(steps[1][m] - steps[0][m], steps[2][m] - steps[1][m], atol=1e-5)


def test_each_stream_has_its_own_scale():
  np.testing.assert_array_equal(guided(4, 2)['video'], guided(4, 7)['video'])
  np.testing.assert_array_equal(guided(4, 2)['audio'], guided(7, 2)['audio'])


def test_pushes_away_from_several_add_up():
  others, push = [without, field(4), field(5)], {'video': 0.5, 'audio': 2.0}
  out = guidance.guided(with_text, [(other, push) for other in others])(X, T)
  v, less = with_text(X, T), [other(X, T) for other in others]
  assert_same(out, {m: v[m] + push[m] * sum(v[m] - one[m] for one in less) for m in v})


def test_guiding_velocity_is_guiding_the_data_estimate():
  data = lambda v: {m: X[m] - T[m] * v[m] for m in v}
  a, b, c = data(guided(3, 3)), data(with_text(X, T)), data(without(X, T))
  assert_same(a, {m: c[m] + 3 * (b[m] - c[m]) for m in a})


@pytest.mark.parametrize('share', [0.4, 1.0])
def test_rescale_brings_back_the_spread_of_the_data_estimate(share):
  """By its share, in every row and stream on its own, and without turning the estimate."""
  out, plain, kept = guided(5, 5, share), guided(5, 5), with_text(X, T)
  for m in SHAPES:
    now, before, wanted = (np.asarray(X[m] - T[m] * v[m]) for v in (out, plain, kept))
    for row in range(2):
      expected = share * wanted[row].std() + (1 - share) * before[row].std()
      assert now[row].std() == pytest.approx(expected, rel=1e-4)
      ratio = now[row] / before[row]
      np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)


def test_rescale_goes_on_to_time_zero():
  """Its effect on v has a limit there, which two-stage solvers ask for."""
  out = guidance.guided(with_text, [(without, {'video': 2.0, 'audio': 2.0})], 0.7)
  assert_same(out(X, at(0)), out(X, at(0.002)), atol=0.03)


def test_what_does_not_count_changes_no_spread():
  """Tokens that fill up a row may hold anything."""
  push = {'video': 2.0, 'audio': 2.0}
  whole = guidance.guided(with_text, [(without, push)], 0.7)(X, T)
  pad = lambda x: {m: jnp.pad(x[m], ((0, 0), (0, 4), (0, 0))) for m in x}
  padded = lambda velocity: lambda x, t: pad(velocity({m: x[m][:, :-4] for m in x}, t))
  counted = {m: (jnp.arange(n + 4) < n)[None, :, None] for m, (_, n, _) in SHAPES.items()}
  out = guidance.guided(padded(with_text), [(padded(without), push)], 0.7, counted)(pad(X), T)
  assert_same({m: v[:, :-4] for m, v in out.items()}, whole)


def test_guidance_acts_within_its_interval_alone():
  velocity = guidance.in_interval(with_text, without, 0.25, 0.75)
  for t, wanted in ((0.1, without), (0.25, with_text), (0.5, with_text), (0.75, with_text)):
    assert_same(velocity(X, at(t)), wanted(X, at(t)), atol=1e-6)
  assert_same(velocity(X, at(0.9)), without(X, at(0.9)), atol=1e-6)


def test_guidance_goes_on_while_one_stream_is_within_its_interval():
  velocity = guidance.in_interval(with_text, without, 0.25, 0.75)
  for levels, wanted in (((0.1, 0.5), with_text), ((0.5, 1.0), with_text), ((0.1, 1.0), without)):
    t = dict(zip(SHAPES, map(jnp.float32, levels)))
    assert_same(velocity(X, t), wanted(X, t), atol=1e-6)
