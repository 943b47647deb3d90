import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import sounds

from sorajax.codec.mel import MelConfig, fourier_basis, log_mel, log_mel_inside, mel_bank

LTX2 = MelConfig()
log_mel_jit = jax.jit(log_mel, static_argnums=1)


def mels_of(audio: np.ndarray, c: MelConfig) -> np.ndarray:
  """[S, A] → [T, F, A] in float64, by scipy's transform and triangles drawn one by one."""
  boundary = 'even' if c.edges == 'reflect' else 'zeros'
  _, _, z = scipy.signal.stft(
    audio.astype(np.float64).T, nperseg=c.n_fft, noverlap=c.n_fft - c.hop_samples,
    boundary=boundary, padded=False,
  )  # fmt: skip
  amplitude = np.abs(z) * scipy.signal.get_window('hann', c.n_fft).sum()
  steps = np.arange(200_000)  # of hertz and mel, a table to look both ways
  hz = steps * 0.05
  mel = np.where(hz < 1000, 3 * hz / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))
  points = np.interp(np.linspace(0, np.interp(c.sample_rate_hz / 2, hz, mel), c.mels + 2), mel, hz)
  bins = np.fft.rfftfreq(c.n_fft, 1 / c.sample_rate_hz)
  bank = [
    np.interp(bins, points[i : i + 3], [0, 2 / (points[i + 2] - points[i]), 0])
    for i in range(c.mels)
  ]
  return np.log(np.maximum(np.einsum('fk,akt->tfa', bank, amplitude), c.floor))


@pytest.mark.parametrize('edges', ['reflect', 'silence'])
def test_mels_are_those_of_another_implementation(edges):
  c = MelConfig(edges=edges)
  audio = sounds.noise(4000)
  made = np.asarray(log_mel_jit(audio[None], c))[0]
  wanted = mels_of(audio, c)
  assert made.shape == (1 + 4000 // 160, 64, 2)
  np.testing.assert_allclose(made, wanted, atol=2e-4)


def test_slaneys_scale_at_the_points_that_he_gives():
  """Linear to 15 mel at 1 kHz, then a factor of 6.4 in 27 mels; each triangle has area 1."""
  bank = mel_bank(12_800, 4096, 41)  # 0 … 42 mel, so every mel has a band
  hz = np.linspace(0, 6400, 2049)
  peaks = hz[bank.argmax(axis=0)]
  np.testing.assert_allclose(peaks[:15], np.arange(1, 16) * 200 / 3, atol=1.6)
  np.testing.assert_allclose(peaks[14:] / 1000, 6.4 ** (np.arange(27) / 27), atol=2e-3)
  np.testing.assert_allclose(bank.sum(axis=0) * hz[1], 1, atol=1e-2)


def test_the_basis_is_the_transform():
  frame = np.random.default_rng(0).standard_normal(64)
  real, imaginary = np.split(frame @ fourier_basis(64), 2)
  wanted = np.fft.rfft(frame * scipy.signal.get_window('hann', 64))
  np.testing.assert_allclose(real + 1j * imaginary, wanted, atol=1e-5)


def test_frames_of_a_piece_are_those_of_the_whole():
  audio = sounds.noise(600)[None]
  whole = log_mel_jit(audio, sounds.MEL)
  inside = jax.jit(log_mel_inside, static_argnums=1)(audio[:, 80 : 80 + 200], sounds.MEL)
  first = 80 // 8 + 2  # frame j is centred on sample 8·j
  np.testing.assert_allclose(inside, whole[:, first : first + inside.shape[1]], atol=1e-5)


def test_a_hop_later_is_a_frame_later():
  audio = sounds.noise(600)
  a, b = (np.asarray(log_mel_jit(x[None], sounds.MEL)) for x in (audio[8:], audio[:-8]))
  np.testing.assert_allclose(a[:, 3:-4], b[:, 4:-3], atol=1e-5)


def test_gradients_are_finite_at_silence_and_right_elsewhere():
  loss = jax.jit(lambda x: jnp.mean(log_mel(x, sounds.MEL) ** 2))
  gradient = jax.jit(jax.grad(loss))
  assert not np.any(gradient(np.zeros((1, 50, 2), np.float32)))
  audio, way = sounds.noise(50)[None], sounds.noise(50, seed=1)[None]
  slope = (loss(audio + 1e-3 * way) - loss(audio - 1e-3 * way)) / 2e-3
  np.testing.assert_allclose(np.sum(gradient(audio) * way), slope, rtol=1e-2)


@pytest.mark.parametrize('samples', [1, 17])
def test_a_sound_shorter_than_a_window_has_frames(samples):
  made = log_mel_jit(sounds.noise(samples)[None], sounds.MEL)
  assert made.shape == (1, 1 + samples // 8, 8, 2) and np.isfinite(made).all()


def test_windows_that_leave_gaps_are_refused():
  with pytest.raises(ValueError, match='n_fft 300 must be even and at least 2 · hop 160'):
    MelConfig(n_fft=300)
