import numpy as np
from clips import scene

from sorajax.evaluate import fidelity

A = scene(1, 4, 32, 48)
NOISE = np.random.default_rng(0).normal(size=A.shape)
SOUND = np.random.default_rng(1).uniform(-0.5, 0.5, (4000, 1)).astype(np.float32)


def noisy(level: float) -> np.ndarray:
  return np.clip(np.rint(A + level * NOISE), 0, 255).astype(np.uint8)


def test_a_picture_is_all_like_itself_and_less_so_with_more_noise():
  assert fidelity.ssim(A, A) == 1 and fidelity.flicker(A, A) == 0
  likeness = [fidelity.ssim(A, noisy(level)) for level in (2, 8, 32)]
  shaking = [fidelity.flicker(A, noisy(level)) for level in (2, 8, 32)]
  assert 1 > likeness[0] > likeness[1] > likeness[2] > 0
  assert 0 < shaking[0] < shaking[1] < shaking[2]
  assert fidelity.ssim(A, noisy(8)) == fidelity.ssim(noisy(8), A)


def test_flat_pictures_have_the_similarity_of_the_formula():
  a, b = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 150, np.uint8)
  c1 = 2.55**2
  wanted = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
  np.testing.assert_allclose(fidelity.ssim(a, b), wanted, rtol=1e-9)


def test_a_picture_that_is_wrong_but_steady_does_not_flicker():
  assert fidelity.flicker(A // 2, A // 2 + 20) == 0
  assert fidelity.flicker(A[:1], A[:1] + 1) == 0


def test_sounds_are_no_distance_from_themselves():
  other = 0.5 * SOUND
  assert fidelity.mel_distance(SOUND, SOUND, 16_000) == 0
  distance = fidelity.mel_distance(SOUND, other, 16_000)
  np.testing.assert_allclose(distance, np.log(2), atol=0.01)
  assert fidelity.stft_distance(SOUND, SOUND) < 1e-4
  np.testing.assert_allclose(fidelity.stft_distance(SOUND, other), np.log(2) + 0.5, atol=0.01)
