"""A sound told by how loud its bands are: what is kept, what is found again, what is not told."""

import dataclasses
import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
import sounds
from tiny import refused

from sorajax.codec import sound_loss, spectrogram
from sorajax.codec.linear import LinearConfig, fit_linear
from sorajax.codec.mel import MelConfig, log_mel, mel_bank, overlapped
from sorajax.codec.spectrogram import SpectrogramCodec, Waves, fit_spectrogram

RATE_HZ = 8_000
MEL = MelConfig(RATE_HZ, 1, 320, 80, 40, edges='silence')
T = np.arange(RATE_HZ) / RATE_HZ
FULL = 4 * 40  # values of four frames


def tone(hz: float, phase: float = 0.0) -> np.ndarray:
  return (0.3 * np.sin(2 * np.pi * hz * T + phase)).astype(np.float32)[:, None]


def strike(at_s: float, hz: float = 900.0) -> np.ndarray:
  """Silence, then a tone that dies away."""
  since = np.maximum(T - at_s, 0)
  made = 0.5 * np.exp(-since / 0.05) * np.sin(2 * np.pi * hz * since)
  return made.astype(np.float32)[:, None]


HEARD = [
  *(tone(hz) for hz in (150, 300, 700, 1500, 3000)), *(strike(t) for t in (0.1, 0.33, 0.62)),
  *(sounds.noise(RATE_HZ, 1, seed) for seed in range(3)),
]  # fmt: skip


def codec(channels: int = FULL, chunk: int = 8) -> SpectrogramCodec:
  fitted = fit_spectrogram(HEARD, MEL, 4, channels, 0.5)
  return dataclasses.replace(fitted, chunk=chunk)


def again(audio: np.ndarray, of: SpectrogramCodec) -> np.ndarray:
  return of.decode(of.encode(audio), len(audio))


@pytest.mark.parametrize('samples', [0, 1, 40, 319, 320, 321, 5000])
def test_a_sound_comes_back_with_its_very_samples(samples):
  own = codec()
  latents = own.encode(sounds.noise(samples, 1))
  assert latents.shape == (own.geometry.latent_length(samples), FULL)
  made = own.decode(latents, samples)
  assert made.shape == (samples, 1) and np.isfinite(made).all()
  assert (latents.dtype, made.dtype) == (np.float32, np.float32)


def test_coding_in_pieces_is_coding_the_whole_bit_for_bit():
  own, audio = codec(), sounds.noise(6000, 1)
  latents = own.encode(audio)
  whole = own.decode(latents, len(audio))
  for seed, pieces in enumerate((2, 5, 30)):
    encoder, decoder = own.encoder(), own.decoder()
    made = [encoder.push(a) for a in sounds.cut(audio, pieces, seed)] + [encoder.finish()]
    np.testing.assert_array_equal(np.concatenate(made), latents)
    made = [decoder.push(x) for x in sounds.cut(latents, pieces, seed)] + [decoder.finish()]
    np.testing.assert_array_equal(np.concatenate(made)[: len(audio)], whole)


def test_a_stream_gives_what_it_can():
  """A chunk of latents, a window and what lies ahead are all that is held."""
  own = codec()
  encoder, decoder, out = own.encoder(), own.decoder(), 0
  for i in range(30):
    out += len(decoder.push(encoder.push(sounds.noise(1000, 1, seed=i))))
    held = 2 * own.chunk * own.geometry.hop_samples + MEL.n_fft
    assert 1000 * (i + 1) - out <= held + spectrogram.AHEAD_S * RATE_HZ


@pytest.mark.parametrize(
  'audio, nats', [(tone(440), 0.25), (strike(0.4), 0.03), (sounds.noise(RATE_HZ, 1, 9), 0.2)]
)
def test_at_full_rank_a_sound_sounds_as_it_did(audio, nats):
  """By its log-mel spectrum, from which silence is twice as far at least."""
  distance = lambda made: float(sound_loss.mel(made[None], audio[None], RATE_HZ))
  assert distance(again(audio, codec())) < nats < 0.5 * distance(0 * audio)


def test_a_strike_is_heard_when_it_was_struck():
  for at_s in (0.2, 0.21, 0.4321):
    made = again(strike(at_s), codec())[:, 0]
    early = np.square(made[: round((at_s - 0.01) * RATE_HZ)]).sum()
    assert early < 0.02 * np.square(made).sum()
    loudest = np.abs(made).argmax() / RATE_HZ
    assert at_s - 0.005 < loudest < at_s + 0.03


def test_latents_do_not_tell_where_waves_begin():
  """A tone's latents are those of the tone a quarter of a wave later, away from the ends."""
  own = codec()
  one, two, other = (own.encode(x)[2:-2] for x in (tone(440), tone(440, 1.6), tone(560)))
  assert np.linalg.norm(one - two) < 0.1 * np.linalg.norm(one - other)


def test_blocks_go_on_from_one_another():
  """No step from sample to sample is steeper than the tone's own, at joints neither."""
  hz = 200.0
  made = again(tone(hz), codec(chunk=4))[800:-800, 0]
  steepest = 0.3 * 2 * np.pi * hz / RATE_HZ
  assert np.abs(np.diff(made)).max() < 1.5 * steepest
  assert 0.25 < np.abs(made).max() < 0.36


def test_silence_stays_silent():
  assert np.abs(again(0 * tone(100), codec())).max() < 1e-3


def test_channels_are_told_apart():
  mel = dataclasses.replace(MEL, audio_channels=2)
  pairs = [np.concatenate(pair, axis=1) for pair in itertools.permutations(HEARD[:5], 2)]
  own = fit_spectrogram(pairs, mel, 4, 2 * FULL, 0.5)
  left, right = tone(300), strike(0.5)
  made = again(np.concatenate([left, right], axis=1), own)
  for mine, true in zip(made.T, (left, right)):
    assert float(sound_loss.mel(mine[None, :, None], true[None], RATE_HZ)) < 0.3


def test_bands_are_those_of_the_frequencies_that_are_found_for_them():
  rng = np.random.default_rng(0)
  true = rng.uniform(0, 1, (7, 161)).astype(np.float32)
  bank = mel_bank(RATE_HZ, MEL.n_fft, MEL.mels)
  found = spectrogram.amplitudes(jnp.asarray(true @ bank), MEL)
  assert (found >= 0).all()
  np.testing.assert_allclose(found @ bank, true @ bank, rtol=0.05, atol=1e-3)


def test_samples_come_back_from_their_windows():
  samples = sounds.noise(10 * 80 + 320, 2).T
  spectra = spectrogram.windowed(jnp.asarray(samples), MEL)
  made = overlapped(spectra, MEL.hop_samples)
  np.testing.assert_allclose(made[:, 40:-40], samples[:, 40:-40], atol=1e-5)


def test_encoded_frames_are_those_of_the_spectrogram():
  own, audio = codec(), sounds.noise(4000, 1)
  latents = own.encode(audio)
  frames = own.decode_chunk(latents, None)[0]
  covered = np.pad(audio, ((0, len(frames) * 80 - len(audio)), (0, 0)))
  expected = log_mel(jnp.asarray(covered)[None], MEL)[0, : len(frames), :, 0]
  np.testing.assert_allclose(frames, expected, atol=2e-3)


def test_a_saved_codec_comes_back_the_same():
  own = codec(20)
  restored = SpectrogramCodec.restored(json.loads(json.dumps(own.shape())), own.arrays())
  assert restored.geometry == own.geometry and restored.chunk == own.chunk
  audio = sounds.noise(1000, 1)
  np.testing.assert_array_equal(again(audio, restored), again(audio, own))


def test_a_config_with_mels_fits_one():
  clips = [sounds.clip_of(audio, RATE_HZ) for audio in HEARD]
  config = LinearConfig((2, 4, 4), 8, frame_samples=80, group=4, mels=40, audio_channels=16)
  own = fit_linear(clips, config, RATE_HZ, 1).audio
  assert isinstance(own, SpectrogramCodec) and own.geometry.hop_samples == 320
  with refused('161 channels are more than the 160 values'):
    fit_linear(clips, dataclasses.replace(config, audio_channels=161), RATE_HZ, 1)


def test_windows_of_parts_of_hops_are_refused():
  with pytest.raises(ValueError, match='330 is no multiple of 80'):
    dataclasses.replace(codec(8), mel=dataclasses.replace(MEL, n_fft=330))


def test_nothing_is_made_of_nothing():
  waves = Waves(MEL, 16)
  assert waves.push(None).shape == waves.finish().shape == (0, 1)


@pytest.mark.parametrize('floor', [1e-5, 1e-2])
def test_what_is_below_the_floor_is_all_alike_and_what_is_above_is_not(floor):
  clips = [sounds.clip_of(audio, RATE_HZ) for audio in HEARD]
  form = LinearConfig(
    (2, 4, 4), 8, frame_samples=80, group=4, mels=40, audio_channels=16, floor=floor
  )
  own = fit_linear(clips, form, RATE_HZ, 1).audio
  quiet = [own.encode(1e-3 * sounds.noise(RATE_HZ, 1, seed)) for seed in (7, 8)]
  loud = [own.encode(sounds.noise(RATE_HZ, 1, seed)) for seed in (7, 8)]
  assert (np.abs(quiet[0] - quiet[1]).max() < 1e-5) == (floor == 1e-2)
  assert np.abs(loud[0] - loud[1]).max() > 0.1


@pytest.mark.parametrize('change', [{'floor': 0.0}, {'audio_rms': -1.0}])
def test_a_floor_or_a_size_of_nothing_is_refused(change):
  with pytest.raises(ValueError, match='floor and audio_rms must be above 0'):
    LinearConfig(**change)
