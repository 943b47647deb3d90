import itertools

import numpy as np
import pytest

from sorajax.codec import pca


def vectors(count: int = 400, width: int = 12, seed: int = 0) -> np.ndarray:
  """Correlated, with spreads from 3 to 0.03 and a mean."""
  rng = np.random.default_rng(seed)
  rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
  spread = np.geomspace(3, 0.03, width)
  return (rng.standard_normal((count, width)) * spread @ rotation + 5).astype(np.float32)


def error(x: np.ndarray, channels: int, whiten: float = 0.5) -> float:
  fitted = pca.fit([x], channels, whiten)
  return float(np.square(fitted.decode(fitted.encode(x)) - x).mean())


@pytest.mark.parametrize('whiten', [0.0, 0.5, 1.0])
def test_full_rank_is_exact_also_on_what_was_not_seen(whiten):
  fitted, new = pca.fit([vectors()], 12, whiten), 10 * vectors(seed=1)
  np.testing.assert_allclose(fitted.decode(fitted.encode(new)), new, atol=2e-4)
  latents = np.random.default_rng(2).standard_normal((9, 12)).astype(np.float32)
  np.testing.assert_allclose(fitted.encode(fitted.decode(latents)), latents, atol=2e-3)


def test_full_rank_is_exact_on_values_that_never_vary():
  x = vectors()
  x[:, 3:] = 0.25
  new = vectors(seed=1)
  fitted = pca.fit([x], 12, 0.5)
  np.testing.assert_allclose(fitted.decode(fitted.encode(new)), new, atol=2e-3)


def test_more_channels_never_reconstruct_worse():
  errors = [error(vectors(), c) for c in range(1, 13)]
  assert all(b <= a for a, b in itertools.pairwise(errors)) and errors[-1] < 1e-10


def test_no_basis_of_its_size_reconstructs_better():
  x = vectors()
  rng = np.random.default_rng(3)
  centred = x - x.mean(axis=0)
  for channels in (2, 6):
    for _ in range(20):
      basis = np.linalg.qr(rng.standard_normal((12, channels)))[0]
      other = np.square(centred @ basis @ basis.T - centred).mean()
      assert error(x, channels) < other


@pytest.mark.parametrize('whiten', [0.0, 0.5, 1.0])
def test_spread_is_that_of_the_latents(whiten):
  x = vectors()
  fitted = pca.fit([x], 7, whiten)
  latents = fitted.encode(x)
  np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-4)
  np.testing.assert_allclose(latents.std(axis=0), fitted.spread, rtol=1e-4)
  assert np.square(fitted.spread).mean() == pytest.approx(1, rel=1e-5)
  ratio = fitted.spread[0] / fitted.spread[-1]
  whole = pca.fit([x], 7, 0.0).spread
  assert ratio == pytest.approx((whole[0] / whole[-1]) ** (1 - whiten), rel=1e-3)


def test_latents_may_be_smaller_and_vectors_come_back_the_same():
  x = vectors()
  whole, half = (pca.fit([x], 7, 0.25, rms) for rms in (1.0, 0.5))
  np.testing.assert_allclose(half.encode(x), whole.encode(x) / 2, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(half.decode(half.encode(x)), whole.decode(whole.encode(x)), atol=1e-4)
  assert np.square(half.encode(x)).mean() == pytest.approx(0.25, rel=1e-3)


def test_batches_do_not_matter():
  x = vectors()
  whole, parts = pca.fit([x], 7, 0.5), pca.fit([x[:1], x[1:150], x[150:]], 7, 0.5)
  np.testing.assert_allclose(
    parts.decode(parts.encode(x)), whole.decode(whole.encode(x)), atol=1e-4
  )


def test_nothing_to_fit_on_and_too_many_channels_are_refused():
  with pytest.raises(ValueError, match='nothing to fit'):
    pca.fit([], 3, 0.5)
  with pytest.raises(ValueError, match='13 channels are more than the 12 values'):
    pca.fit([vectors()], 13, 0.5)


@pytest.mark.parametrize('count', [400, 9])
def test_vectors_too_long_for_a_covariance_give_the_same_transform(count, monkeypatch):
  x = vectors(count)
  wanted = pca.fit([x], 5, 0.5)
  monkeypatch.setattr(pca, 'DENSE', 11)
  found = pca.fit(np.array_split(x, 3), 5, 0.5)
  np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-5)
  np.testing.assert_allclose(found.spread, wanted.spread, rtol=1e-4)
  made, like = (codec.decode(codec.encode(x)) for codec in (found, wanted))
  np.testing.assert_allclose(made, like, atol=1e-3)


def test_too_few_long_vectors_are_refused(monkeypatch):
  monkeypatch.setattr(pca, 'DENSE', 11)
  with pytest.raises(ValueError, match='5 patches are too few to fit 5 channels on'):
    pca.fit([vectors(5)], 5, 0.5)
