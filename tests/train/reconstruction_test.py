"""Autoencoders begin where the clips lie, and noise belongs to training alone."""

import dataclasses
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax import build, sharding
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.codec import plain, sound
from sorajax.codec.vocoder import CONSTANT, VocoderConfig
from sorajax.data import clips as clips_lib
from sorajax.evaluate.fidelity import mel_distance, psnr_db, snr_db
from sorajax.optim import OptimizerConfig
from sorajax.train import pictures, reconstruction
from sorajax.train.mels import MelObjective
from sorajax.train.pictures import PictureObjective
from sorajax.train.sounds import SqueezeObjective
from sorajax.train.state import initial_state, make_step

CONFIG = Path(__file__).parents[2] / 'configs' / 'tiny_codec.py'
FRAMES = 9
HALVES = {'picture': PictureObjective, 'sound': SqueezeObjective, 'mel': MelObjective}
HIFI = VocoderConfig(
  inputs=16, outputs=1, width=8, factors=(10, 8), sizes=(20, 16), kernels=(3,),
  dilations=((1, 3),), activation='snake',
)  # fmt: skip
each_half = pytest.mark.parametrize('half', HALVES)


class Films(tiny.Source):
  """Clips in memory, of the size that the config cuts."""

  def __init__(self, count: int, seed: int):
    super().__init__([FRAMES] * count)
    self.rows = tuple(dataclasses.replace(row, height=16, width=16) for row in self.rows)
    self.clips = [
      tiny.make_clip(FRAMES, seed=seed + i, size=(16, 16), fps=8.0, rate_hz=8000)
      for i in range(count)
    ]

  def __getitem__(self, number) -> Clip:
    return self.clips[number]


@pytest.fixture(autouse=True)
def in_memory(monkeypatch):
  for module in (clips_lib, reconstruction):
    monkeypatch.setattr(module, 'clip_of', lambda clip: clip)
  monkeypatch.setattr(reconstruction, 'open_source', lambda path, split: Films(4, 100))


def objective(half: str, start: str = '', **loss):
  settings = build.codec_settings(runpy.run_path(str(CONFIG))['get_config'](half))
  settings = dataclasses.replace(settings, start=start)
  settings = dataclasses.replace(settings, loss=dataclasses.replace(settings.loss, **loss))
  mesh = sharding.make_mesh(sharding.MeshConfig())
  return HALVES[half](settings, Films(6, 0), mesh)


def held_out(made, params) -> dict[str, float]:
  with jax.set_mesh(made.mesh):
    return made.evaluator()(params, made.frozen())


@pytest.mark.parametrize('half', ['picture', 'sound'])
def test_it_begins_as_the_linear_codec(half):
  made = objective(half)
  found = held_out(made, made.init(jax.random.key(0)))
  linear, clips = made.linear, list(made.held(4))
  if half == 'picture':
    wanted = [psnr_db(c.video, linear.video.decode(linear.video.encode(c.video))) for c in clips]
    name = 'psnr_db'
  else:
    coded = lambda c: linear.audio.decode(linear.audio.encode(c.audio), len(c.audio))
    wanted, name = [snr_db(c.audio, coded(c)) for c in clips], 'snr_db'
  np.testing.assert_allclose(found[name], np.mean(wanted), atol=0.1)


@each_half
def test_the_finished_codec_codes_as_the_evaluation_says(half):
  made = objective(half)
  drawn = made.init(jax.random.key(0))
  params = jax.tree.map(lambda x: x + 0.02 * np.sin(np.arange(x.size)).reshape(x.shape), drawn)
  found, codec = held_out(made, params), made.codec(jax.device_get(params))
  pairs = [(clip, codec.decode(codec.encode(clip))) for clip in made.held(4)]
  mels = lambda a, b: mel_distance(a.audio, b.audio, a.sample_rate_hz)
  measures = {
    'psnr_db': lambda a, b: psnr_db(a.video, b.video),
    'snr_db': lambda a, b: snr_db(a.audio, b.audio),
    'mel_distance': mels,
  }
  names = measures.keys() & found.keys()
  assert names
  for name in names:
    wanted = np.mean([measures[name](a, b) for a, b in pairs])
    np.testing.assert_allclose(found[name], wanted, atol=0.05 if name.endswith('db') else 1e-3)


@each_half
def test_training_goes_on_from_a_finished_codec(half, tmp_path):
  made = objective(half)
  drawn = made.init(jax.random.key(0))
  params = jax.tree.map(lambda x: x + 0.02 * np.sin(np.arange(x.size)).reshape(x.shape), drawn)
  made.codec(jax.device_get(params)).save(tmp_path)
  again = objective(half, start=str(tmp_path))
  assert held_out(again, again.init(jax.random.key(1))) == held_out(made, params)


@each_half
def test_it_starts_from_no_codec_of_another_size(half):
  with refused('config.start=film holds another .* codec than config describes'):
    objective(half, start='film').init(jax.random.key(0))


def decoding(folder, **picture) -> PictureObjective:
  """What learns a decoder for the latents of the codec in `folder`."""
  made = objective('picture')
  picture = dataclasses.replace(made.settings.picture, **picture)
  settings = dataclasses.replace(made.settings, encoder_of=str(folder), picture=picture)
  return dataclasses.replace(made, settings=settings)


def test_a_decoder_is_learned_for_latents_that_stay(tmp_path):
  before = objective('picture')
  before.codec(jax.device_get(before.init(jax.random.key(0)))).save(tmp_path)
  made = decoding(tmp_path, decoder_blocks=1, decoder_widths=(12, 24))
  drawn = made.init(jax.random.key(1))
  assert drawn.keys() == {'decoder'} and np.isfinite(held_out(made, drawn)['psnr_db'])
  codec, clip = made.codec(jax.device_get(drawn)), next(iter(made.held(1)))
  wanted = codec_lib.load(str(tmp_path)).encode(clip)
  np.testing.assert_array_equal(codec.encode(clip).video, wanted.video)
  assert codec.decode(wanted).video.shape == clip.video.shape
  with jax.set_mesh(made.mesh):
    state = jax.jit(initial_state(made))()
    step = make_step(made, made.mesh, sharding.shardings(made.mesh, state))
    moved, _ = step(state, made.frozen(), made.loader(clips_lib.Place()).feed(0)[0])
  assert any(
    (a != b).any() for a, b in zip(jax.tree.leaves(moved['params']), jax.tree.leaves(drawn))
  )


def test_no_decoder_is_learned_for_an_encoder_of_another_size(tmp_path):
  before = objective('picture')
  before.codec(jax.device_get(before.init(jax.random.key(0)))).save(tmp_path)
  with refused('holds another picture encoder than config.picture describes'):
    decoding(tmp_path, widths=(16, 16)).init(jax.random.key(0))
  with refused('config.picture: 3 decoder_widths for 2 widths'):
    decoding(tmp_path, decoder_widths=(8, 16, 16)).init(jax.random.key(0))


def test_mel_networks_begin_at_the_level_of_the_sounds():
  """What the autoencoder first makes lies about as high as what it reads."""
  made = objective('mel')
  mean, scale = made.level
  params = made.init(jax.random.key(0))
  bias = params['autoencoder']['decoder']['last']['conv']['bias']
  np.testing.assert_allclose(bias, mean, rtol=1e-5)
  found = held_out(made, params)
  assert found['spectrogram'] < 3 * scale


def test_a_vocoder_learns_from_sounds_and_the_autoencoder_from_frames():
  """Neither is moved by what the other is judged by."""
  made = objective('mel', divergence=0.0)
  params, batch = made.init(jax.random.key(0)), next(iter(made.held(1))).audio[None]

  def moved(**weights: float) -> set[str]:
    loss = dataclasses.replace(made.settings.loss, **{'spectra': 0.0, 'mel': 0.0, **weights})
    own = dataclasses.replace(made, settings=dataclasses.replace(made.settings, loss=loss))
    counts = {'micro_batches': jnp.ones(())}
    total = lambda p: own.loss(p, own.frozen(), {'audio': batch}, jax.random.key(0), counts)[0]
    gradients = jax.jit(jax.grad(total))(params)
    return {part for part in gradients if any(s.any() for s in jax.tree.leaves(gradients[part]))}

  assert moved(spectrogram=1.0) == {'autoencoder'}
  assert moved(spectrogram=0.0, spectra=1.0, mel=1.0) == {'vocoder'}


def test_the_constants_of_a_vocoder_stay_as_they_are():
  """Whatever the optimiser does to all that it is given."""
  made = objective('mel')
  optimizer = OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, ema=0.5)
  codec = dataclasses.replace(made.config, vocoder=HIFI)
  settings = dataclasses.replace(made.settings, optimizer=optimizer, mel_codec=codec)
  made = dataclasses.replace(made, settings=settings)
  with jax.set_mesh(made.mesh):
    state = jax.jit(initial_state(made))()
    layout = sharding.shardings(made.mesh, state)
    batch, _ = made.loader(clips_lib.Place()).feed(0)
    before = jax.device_get(state['params'])
    state, _ = make_step(made, made.mesh, layout)(state, made.frozen(), batch)
  after = jax.device_get(state['ema'])
  names = plain.flat(before).keys()
  assert not [n for n in names if n.rpartition('/')[2] in CONSTANT]
  moved = {n for n in names if (plain.flat(before)[n] != plain.flat(after)[n]).any()}
  assert len(moved) > 0.9 * len(names)
  codec = made.codec(after).audio
  fresh = sound.new_mel(made.config, jax.random.key(1)).params
  np.testing.assert_array_equal(codec.params['vocoder']['lowpass'], fresh['vocoder']['lowpass'])


def test_noise_on_the_latents_is_felt_in_training_alone():
  plain, noisy = objective('picture', noise=0.0), objective('picture', noise=20.0)
  params = plain.init(jax.random.key(0))
  a, b = held_out(plain, params), held_out(noisy, params)
  assert a['psnr_db'] == b['psnr_db'] and b['loss'] > 1.2 * a['loss']


@each_half
def test_a_batch_brings_only_what_is_coded(half):
  made = objective(half)
  batch, _ = made.loader(clips_lib.Place()).feed(0)
  assert list(batch) == [made.modality]


def test_noise_grows_with_the_latents_and_not_with_their_mean():
  latents = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 5)) * jnp.arange(1.0, 6)
  levels = jnp.asarray([0.0, 0.5]).reshape(2, 1, 1, 1, 1)
  added = lambda x: pictures.noised(jax.random.key(1), x, levels) - x
  once = added(latents)
  assert not once[0].any() and float(once[1].std()) == pytest.approx(0.5 * 11**0.5, rel=0.2)
  np.testing.assert_allclose(added(3 * latents), 3 * once, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(added(latents + 7), once, rtol=1e-4, atol=1e-5)
