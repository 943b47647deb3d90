import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
import sounds
import tiny
from tiny import refused

from sorajax.codec import plain, sound
from sorajax.codec.audio import Autoencoder
from sorajax.codec.mel import log_mel
from sorajax.codec.past import Past
from sorajax.codec.squeeze import Squeeze, padded
from sorajax.codec.streams import SoundDecoder, SoundEncoder, check_rate
from sorajax.codec.vocoder import Vocoder, VocoderConfig, WideConfig, WideVocoder, flattened

KINDS = ('squeeze', 'mel')
each_kind = pytest.mark.parametrize('kind', KINDS)
SAMPLES = 203


def encoded(kind: str, samples: int = SAMPLES) -> np.ndarray:
  return sounds.codec(kind).encode(sounds.noise(samples))


@each_kind
@pytest.mark.parametrize('samples', [0, 1, 7, 8, 15, 16, 17, 100])
def test_a_sound_comes_back_with_its_very_samples(kind, samples):
  codec = sounds.codec(kind)
  latents = codec.encode(sounds.noise(samples))
  assert latents.shape == (codec.geometry.latent_length(samples), codec.geometry.channels)
  made = codec.decode(latents, samples)
  assert made.shape == (samples, 2) and np.isfinite(made).all()
  assert (latents.dtype, made.dtype) == (np.float32, np.float32)


@each_kind
def test_coding_in_pieces_is_coding_the_whole_bit_for_bit(kind):
  codec, audio = sounds.codec(kind), sounds.noise(SAMPLES)
  latents, whole = encoded(kind), codec.decode(encoded(kind), SAMPLES)
  for seed, pieces in enumerate((1, 2, 5, 30)):
    encoder, decoder = SoundEncoder(codec), SoundDecoder(codec)
    made = [encoder.push(a) for a in sounds.cut(audio, pieces, seed)] + [encoder.finish()]
    np.testing.assert_array_equal(np.concatenate(made), latents)
    made = [decoder.push(x) for x in sounds.cut(latents, pieces, seed)] + [decoder.finish()]
    np.testing.assert_array_equal(np.concatenate(made)[:SAMPLES], whole)


@each_kind
def test_a_stream_gives_what_it_can(kind):
  """So that what is held does not grow: at most a chunk, a window and what the vocoder reads."""
  codec = sounds.codec(kind)
  encoder, decoder, out = SoundEncoder(codec), SoundDecoder(codec), 0
  for i in range(30):
    latents = encoder.push(sounds.noise(20, seed=i))
    out += len(decoder.push(latents))
    assert 20 * (i + 1) - out <= (60 if kind == 'squeeze' else 32 + 200)


def normalised(codec, latents):
  return (np.asarray(latents) - codec.statistics.mean) / codec.statistics.scale


def test_squeezed_streams_are_the_network_on_the_whole():
  codec, audio = sounds.codec('squeeze'), sounds.noise(SAMPLES)

  @tiny.quick_jit
  def whole(params, audio):
    module = plain.joined(Squeeze, codec.config, params)
    mean, _ = module.encode(padded(audio, codec.geometry), Past())
    return mean, module.decode(mean, Past())

  mean, made = whole(codec.params, audio[None])
  np.testing.assert_allclose(encoded('squeeze'), normalised(codec, mean[0]), atol=1e-5)
  streamed = codec.decode(encoded('squeeze'), SAMPLES)
  np.testing.assert_allclose(streamed, made[0, :SAMPLES], atol=1e-5)


@pytest.mark.parametrize('edges', ['reflect', 'silence'])
def test_mel_latents_in_a_stream_are_those_of_the_whole(edges):
  codec, audio = sounds.codec('mel'), sounds.noise(SAMPLES)
  c = dataclasses.replace(codec.config, mel=dataclasses.replace(sounds.MEL, edges=edges))
  codec = dataclasses.replace(codec, config=c)
  covered = codec.covered(codec.geometry.latent_length(SAMPLES))
  assert SAMPLES <= covered < SAMPLES + codec.geometry.hop_samples

  @tiny.quick_jit
  def whole(params, audio):
    mel = log_mel(audio, c.mel)[:, : covered // c.mel.hop_samples]
    return plain.joined(Autoencoder, c.autoencoder, params).encode(mel, Past())[0]

  padded = np.pad(audio, ((0, covered - SAMPLES), (0, 0)))[None]
  mean = whole(codec.params['autoencoder'], padded)
  np.testing.assert_allclose(codec.encode(audio), normalised(codec, mean[0]), atol=2e-5)


def test_mel_sounds_in_a_stream_are_those_of_the_whole():
  codec, latents = sounds.codec('mel'), encoded('mel')
  c = codec.config

  @tiny.quick_jit
  def whole(params, latents):
    module = plain.joined(Autoencoder, c.autoencoder, params['autoencoder'])
    mel = module.decode(latents, Past())
    return plain.joined(Vocoder, c.vocoder, params['vocoder'])(flattened(mel))

  made = whole(codec.params, (latents * codec.statistics.scale + codec.statistics.mean)[None])
  np.testing.assert_allclose(codec.decode(latents, SAMPLES), made[0, :SAMPLES], atol=1e-5)


@each_kind
def test_a_saved_codec_comes_back_the_same(kind):
  codec = sounds.codec(kind)
  shape, arrays = codec.shape(), codec.arrays()
  assert all(isinstance(a, np.ndarray) for a in arrays.values())
  again = type(codec).restored(json.loads(json.dumps(shape)), arrays)
  assert (again.config, again.chunk) == (codec.config, codec.chunk)
  assert again.geometry == codec.geometry
  np.testing.assert_array_equal(again.spread, codec.spread)
  np.testing.assert_array_equal(again.encode(sounds.noise(SAMPLES)), encoded(kind))


def test_a_wide_vocoder_makes_samples_of_its_rate_and_is_restored():
  codec = sounds.codec('mel')
  extension = dataclasses.replace(sounds.VOCODER, inputs=8, factors=(6, 2), sizes=(6, 4))
  wide = WideConfig(
    sounds.VOCODER, extension, sounds.RATE_HZ, ratio=3, n_fft=8, hop_samples=4, mels=4
  )
  config = dataclasses.replace(codec.config, vocoder=wide)
  params = {**codec.params, 'vocoder': sounds.drawn(WideVocoder, wide)}
  codec = dataclasses.replace(codec, config=config, params=params)
  assert codec.output_rate_hz == 3 * sounds.RATE_HZ
  shape, arrays = codec.shape(), codec.arrays()
  codec = type(codec).restored(json.loads(json.dumps(shape)), arrays)
  assert codec.config == config
  assert codec.decode(encoded('mel', 20), 3 * 20).shape == (3 * 20, 2)


@each_kind
def test_damaged_codecs_are_refused(kind):
  codec = sounds.codec(kind)
  shape, arrays = codec.shape(), codec.arrays()
  name = next(n for n in arrays if n.startswith('params/'))
  with refused('no saved codec of sound'):
    codec.restored({**shape, 'config': {'colour': 1}}, arrays)
  with refused('no saved codec of sound'):
    codec.restored({}, arrays)
  with refused(f'the first that differs is {name.removeprefix("params/")}'):
    codec.restored(shape, {n: a for n, a in arrays.items() if n != name})
  with refused('has shape .* and the config asks for'):
    codec.restored(shape, {**arrays, name: arrays[name][None]})


@each_kind
def test_sounds_that_are_not_the_codecs_are_refused(kind):
  codec, good = sounds.codec(kind), sounds.noise(50)
  odd = good.copy()
  odd[[7, 9], 1] = np.nan, np.inf
  cases = {
    r'takes \[samples, 2\], so mix it to 2 channels': good[:, :1],
    r'the sound has shape \(50,\)': good[:, 0],
    'the sound is int16; give float32': (good * 1000).astype(np.int16),
    '2 of 50 samples are not finite, the first at 7': odd,
  }
  for match, audio in cases.items():
    with refused(match):
      codec.encode(audio)
    with refused(match):
      SoundEncoder(codec).push(audio)
  with refused('the sound has 16000 Hz and the codec 1000 Hz; resample it'):
    check_rate(16_000, codec.geometry)
  check_rate(1_000, codec.geometry)


@each_kind
def test_latents_that_are_not_the_codecs_are_refused(kind):
  codec, latents = sounds.codec(kind), encoded(kind)
  with refused(rf'this codec takes \[n, {codec.geometry.channels}\]'):
    codec.decode(latents[:, 1:], 10)
  latents[3, 0] = np.nan
  with refused('are not finite, the first at 3; sample again'):
    codec.decode(latents, 10)


@each_kind
def test_measured_latents_have_mean_0_and_mean_square_1(kind):
  clips = [sounds.noise(n, seed=n) for n in (60, 0, 90, 75)]
  codec = sound.measured(sounds.codec(kind), clips)
  latents = np.concatenate([codec.encode(c) for c in clips])
  np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-4)
  np.testing.assert_allclose(latents.std(axis=0), codec.spread, rtol=1e-3)
  np.testing.assert_allclose(np.mean(codec.spread**2), 1, rtol=1e-3)
  assert len(set(codec.statistics.scale)) == 1  # channels keep their proportions
  with refused('0 latents to measure'):
    sound.measured(codec, [sounds.noise(0)])


def test_a_mel_latent_lies_over_its_frames():
  """Latent j ends with mel frame stride·j, which is centred on sample hop·stride·j."""
  codec = sounds.codec('mel')
  spans = codec.geometry.spans_s(3) * sounds.RATE_HZ
  hop = sounds.MEL.hop_samples
  np.testing.assert_allclose(spans, [[0, hop], [hop, 3 * hop], [3 * hop, 5 * hop]])


def test_ltx2_is_a_config():
  for vocoder, rate in ((VocoderConfig(), 24_000), (WideConfig(), 48_000)):
    config = sound.MelCodecConfig(vocoder=vocoder)
    g = config.geometry
    assert (g.sample_rate_hz, g.hop_samples, g.channels, g.lead_samples) == (16_000, 640, 128, 480)
    assert config.output_rate_hz == rate


def test_parts_that_do_not_fit_are_refused():
  good = sounds.codec('mel').config
  change = dataclasses.replace
  cases = {
    'make it causal, pixel norm': {'autoencoder': change(good.autoencoder, causal=False)},
    r'reads 2 × 4 mels and the spectrogram has 2 × 8': {
      'autoencoder': change(good.autoencoder, mels=4)
    },
    'makes 2 channels of 8 values': {'vocoder': change(good.vocoder, inputs=8)},
    'are no whole rate': {'mel': change(good.mel, hop_samples=7)},
  }
  for match, parts in cases.items():
    with pytest.raises(ValueError, match=match):
      change(good, **parts)


def test_new_codecs_have_learned_nothing_and_work():
  with tiny.initialised_by_waves:
    codec = sound.new_squeeze(sounds.SQUEEZE, jax.random.key(0))
  np.testing.assert_array_equal(codec.spread, 1)
  lengths = itertools.accumulate(len(codec.encode(sounds.noise(n))) for n in (5, 50))
  assert list(lengths)[-1] == sum(codec.geometry.latent_length(n) for n in (5, 50))
