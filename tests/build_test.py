import dataclasses
import json
import runpy
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax import build, sharding
from sorajax.codec.vocoder import VocoderConfig
from sorajax.generate import sampling
from sorajax.settings import CodecRun, MelCodecSettings, Settings, TextConfig

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def config(name: str = 'tiny', *kind: str) -> ml_collections.ConfigDict:
  return runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config'](*kind)


def changed(**changes) -> ml_collections.ConfigDict:
  """The tiny config with keys set, such as train__steps=3, and nothing else following them."""
  plain = config().to_dict()
  for path, value in changes.items():
    section = plain
    *above, key = path.split('__')
    for name in above:
      section = section[name]
    section[key] = value
  return ml_collections.ConfigDict(plain)


@pytest.mark.parametrize(
  'name', sorted(p.stem for p in CONFIGS.glob('*.py') if 'def get_config' in p.read_text())
)
def test_every_config_of_the_checkout_is_whole(name):
  learned = 'picture' in config(name) or 'sound' in config(name)
  whole = build.codec_settings if learned else build.settings
  made = whole(config(name))
  assert isinstance(made, Settings | CodecRun) and made.name
  assert whole(config(name)) == made


def test_a_distilled_release_is_sampled_in_eight_steps_of_one_pass():
  plain, distilled = (build.settings(config('ltx2', f'2.3{kind}')) for kind in ('', '-distilled'))
  assert plain.transformer == distilled.transformer
  shift = sampling.shift_of(distilled, 6144)
  assert [n for _, n in sampling.evaluations(distilled.sample, shift)] == [8]
  assert [n for _, n in sampling.evaluations(plain.sample, shift)] == [30] * 4


@pytest.mark.parametrize('size', ['4x8x8', '4x16x16', '8x16x16', '8x32x32'])
def test_a_picture_codec_is_of_the_size_that_it_is_called_by(size):
  program = runpy.run_path(str(CONFIGS / 'codec.py'))
  assert size in program['SIZES']
  made = build.codec_settings(program['get_config'](size))
  assert 'x'.join(map(str, build.autoencoder(made.picture).geometry.stride)) == size


def test_a_picture_codec_that_does_not_fit_together_is_refused():
  narrow = config('codec')
  narrow.picture.widths = (48, 96)
  with refused('config.picture: stride .* needs 2 to 3 stages, not 1'):
    build.codec_settings(narrow)


def test_a_config_survives_its_json():
  """As it is kept with a run, where tuples have become lists."""
  kept = ml_collections.ConfigDict(json.loads(config().to_json()))
  assert build.settings(kept) == build.settings(config())


def test_a_key_that_is_not_there_is_refused_with_the_nearest():
  with refused(r"config.train has no key 'stepps'; did you mean steps\?"):
    build.settings(changed(train__stepps=3))
  with refused(r"config.transformer.streams.video has no key 'head'; did you mean heads\?"):
    build.settings(changed(transformer__streams__video__head=3))
  with refused(r"has no key 'trian'; did you mean train\?"):
    build.settings(changed(trian=3))
  with refused(r"config.mesh has no key 'zzz'; did you mean data, fsdp, context, tensor\?"):
    build.settings(changed(mesh__zzz=1))


def test_a_section_is_called_as_in_the_config_file():
  with refused('^config.train.steps is '):
    build.settings(changed(train__steps='many'))
  with refused("^config.train has no key 'stepps'"):
    build.settings(changed(train__stepps=3))
  with refused("^config has no key 'trian'"):
    build.settings(changed(trian=3))


def test_a_missing_key_is_refused_by_name():
  c = config()
  with c.unlocked():
    del c.train.steps
  with refused("config.train lacks the key 'steps'"):
    build.settings(c)
  with c.unlocked():
    del c['train']
  with refused("lacks the key 'train'"):
    build.settings(c)


@pytest.mark.parametrize(
  'change, match',
  [
    ({'train__steps': 'many'}, "config.train.steps is 'many'; it must be of type int"),
    ({'train__steps': 1.5}, 'config.train.steps is 1.5; it must be of type int'),
    ({'train__steps': True}, 'config.train.steps is True; it must be of type int'),
    ({'train__steps': None}, 'config.train.steps is None; it must be of type int'),
    ({'flow__shift': '1'}, "config.flow.shift is '1'; it must be of type float"),
    ({'flow__preconditioned': 1}, 'config.flow.preconditioned is 1; it must be of type bool'),
    ({'optimizer__decay': 'step'}, "is 'step'; choose one of 'linear', 'cosine'"),
    ({'optimizer__betas': (0.9,)}, 'config.optimizer.betas has 1 items; it takes 2'),
    ({'codec__stride': (2, 8, '8')}, r"config.codec.stride\[2\] is '8'; it must be of type int"),
    ({'codec__stride': 4}, 'config.codec.stride is 4; it must be of type tuple'),
    ({'train': 4}, 'config.train is 4; it must be a section with keys'),
    ({'train__tasks': 4}, 'config.train.tasks is 4; it must be of type dict'),
    ({'train__tasks__extend': 'often'}, "config.train.tasks.extend is 'often'"),
    ({'text__kind': 'runes'}, "kind is 'runes'; choose one of 'bytes', 'words', 'minilm'"),
  ],
  ids=str,
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_by_name(change, match):
  with refused(match):
    build.settings(changed(**change))


@pytest.mark.parametrize(
  'change, match',
  [
    ({'skip_guidance': {'video': 1.0, 'audio': 0.0}}, 'needs config.sample.skip_layers; name some'),
    ({'skip_layers': (0, 2)}, 'names layer 2 and the transformer has 0 to 1'),
    ({'skip_layers': (-1,)}, 'names layer -1 and the transformer has 0 to 1'),
    ({'modality_guidance': {'video': 3.0}}, r"modality_guidance has \['video'\]; it needs audio"),
    ({'wait': {'video': 0, 'audio': -1}}, r"wait is .*'audio': -1.*; give steps from 0"),
    ({'steps': 0}, 'config.sample: steps are 0 and batch is 4; give 1 or more of each'),
    ({'batch': 0}, 'batch is 0; give 1 or more of each'),
    ({'interval': (0.9, 0.1)}, 'give two rising noise levels from 0 to 1'),
    ({'rescale': 1.5}, 'rescale is 1.5; give 0 to 1'),
    ({'last': 1.0}, 'config.sample: last is 1.0; give a noise level from 0 to below 1'),
    ({'levels': (1.0, 0.4)}, r'levels are \(1.0, 0.4\); give noise levels that fall from 1 to 0'),
    ({'levels': (0.4, 0.4, 0.0)}, 'give noise levels that fall from 1 to 0'),
    ({'guidance': {'vidio': 3.0, 'audio': 1.0}}, r"guidance has \['audio', 'vidio'\]"),
  ],
  ids=str,
)  # fmt: skip
def test_sampling_that_cannot_be_is_refused(change, match):
  change = {f'sample__{name}': value for name, value in change.items()}
  with refused(match):
    build.settings(changed(**change))


def test_a_whole_number_may_stand_for_a_fraction_and_a_list_for_a_tuple():
  made = build.settings(changed(codec__stride=[2, 8, 8]))
  assert made.codec.stride == (2, 8, 8)
  assert type(build.settings(changed(sample__seconds=2)).sample.seconds) is float


@pytest.mark.parametrize(
  'change, match',
  [
    (
      {'transformer__streams__video__channels': 7},
      'config.transformer.streams.video.channels is 7 and the codec makes 16; make them equal',
    ),
    ({'transformer__text_width': 48}, 'config.transformer.text_width is 48 .* makes 32'),
    ({'text__kind': 'minilm'}, 'config.transformer.text_width is 32 .* makes 384'),
    ({'train__tasks__fly': 1.0}, "the task 'fly'; it knows text_to_clip"),
    ({'train__tasks__extend': -1.0}, 'config.train.tasks.extend is -1.0; weights are not negative'),
    ({'train__tasks': {'extend': 0.0}}, 'config.train.tasks has no task of positive weight'),
    ({'transformer__unroll': 3}, 'config.transformer: unroll 3 does not divide layers 2'),
    ({'transformer__cross_head_dim': 7}, 'config.transformer: head_dim of .* must be even'),
  ],
  ids=str,
)
def test_sections_that_contradict_one_another_are_refused(change, match):
  with refused(match):
    build.settings(changed(**change))


def test_both_streams_are_needed():
  c = config()
  with c.unlocked():
    del c.transformer.streams['audio']
  with refused(r"config.transformer.streams has \['video'\]; it needs audio and video"):
    build.settings(c)


def test_latents_that_the_transformer_does_not_read_are_refused():
  made = build.settings(config())
  with refused('the video latents have 8 channels and the transformer reads 16; encode again'):
    build.network(made, tiny.codec())


def test_a_network_is_preconditioned_by_the_spread_of_its_codec():
  codec = dataclasses.replace(tiny.CODEC, video_channels=16, audio_channels=16)
  made = build.settings(config())
  spread = build.network(made, tiny.codec(codec)).spread
  for m, values in tiny.codec(codec).spread.items():
    np.testing.assert_array_equal(spread[m], values.tolist())
  plain = dataclasses.replace(made, flow=dataclasses.replace(made.flow, preconditioned=False))
  assert build.network(plain, tiny.codec(codec)).spread == {}


def test_text_encoders_are_chosen_by_kind():
  assert build.text_encoder(TextConfig('bytes', 64, 1, 7)).width == 64
  assert build.text_encoder(TextConfig('minilm', max_tokens=7)).width == 384


def test_a_run_is_of_one_network_and_target():
  before = config().to_dict()
  build.check_same(before, config().to_dict(), 'the run')
  for path in ('train__steps', 'flow__shift'):
    build.check_same(before, changed(**{path: 99}).to_dict(), 'the run')
  kept = ('codec__group', 'transformer__streams__video__hidden', 'text__depth')
  for path in (*kept, 'flow__preconditioned'):
    other = changed(**{path: 0}).to_dict()
    with refused(f'the run was made with another config.{path.replace("__", ".")}'):
      build.check_same(before, other, 'the run')


def test_a_sound_codec_hears_clips_at_their_own_rate():
  other = config('sound_codec')
  other.sound.sample_rate_hz = 24_000
  with refused('config.sound.sample_rate_hz is 24000 and that of config.prepare 16000'):
    build.codec_settings(other)


@pytest.mark.parametrize('name', ['sound_codec', 'tiny_codec'])
def test_a_mel_codec_survives_its_json(name):
  made = build.codec_settings(config(name, 'mel'))
  again = build.codec_settings(json.loads(config(name, 'mel').to_json()))
  assert isinstance(made, MelCodecSettings) and again == made


def test_a_vocoder_is_of_the_kind_that_has_its_keys():
  other = config('sound_codec', 'mel')
  with other.unlocked():
    other.mel_codec.vocoder = {'inputs': 64, 'outputs': 1, 'factors': (16, 10), 'sizes': (16, 10)}
  made = build.codec_settings(other).mel_codec.vocoder
  assert isinstance(made, VocoderConfig) and made.factors == (16, 10)
  other.mel_codec.vocoder.width = 'wide'
  with refused("config.mel_codec.vocoder.width is 'wide'; it must be of type int"):
    build.codec_settings(other)


def test_a_mel_latent_covers_as_much_as_one_of_the_other_sound_codec():
  mel, sound = (build.codec_settings(config('sound_codec', k)) for k in ('mel', 'squeeze'))
  a, b = mel.mel_codec.geometry, sound.sound.geometry
  assert (a.hop_samples, a.channels) == (b.hop_samples, b.channels) == (1280, 64)


@pytest.mark.parametrize(
  'change, match',
  [
    (
      {'mel': {'sample_rate_hz': 24_000}},
      'config.mel_codec.mel.sample_rate_hz is 24000 and that of config.prepare 16000',
    ),
    (
      {'vocoder': {'factor': 320}},
      'config.mel_codec.vocoder makes 320 samples a mel .* is 160; make them equal',
    ),
    ({'autoencoder': {'mels': 32}}, 'config.mel_codec: the autoencoder reads 1 × 32 mels'),
    ({'vocoder': {'n_fft': 650}}, 'config.mel_codec.vocoder: n_fft 650 must be even and at least'),
    (
      {'mel': {'hop_sample': 3}},
      "config.mel_codec.mel has no key 'hop_sample'; did you mean hop_samples",
    ),
  ],
  ids=str,
)
def test_a_mel_codec_that_does_not_fit_together_is_refused(change, match):
  other = config('sound_codec', 'mel')
  for part, keys in change.items():
    with other.mel_codec[part].unlocked():
      other.mel_codec[part].update(keys)
  with refused(match):
    build.codec_settings(other)


def test_a_sound_codec_that_is_unknown_is_refused():
  with pytest.raises(ValueError, match="no sound codec 'flac'; choose squeeze or mel"):
    config('sound_codec', 'flac')


@pytest.mark.parametrize(
  'mesh, change, match',
  [
    ((1, 1, 1, 4), {}, 'cross_heads 2 does not divide over 4 shards .tensor=4.; try 4'),
    ((1, 3, 1, 1), {}, 'streams.audio.width 32 does not divide over 3 shards'),
    ((1, 1, 1, 2), {}, 'the heads .of 32. of config.text.width: 1 does not divide over 2 shards'),
    (
      (1, 1, 4, 1), {'transformer__attention__split': 'swap'},
      'config.transformer.cross_heads 2 does not divide over 4 shards .tensor=1 × context=4.',
    ),
    ((1, 2, 1, 1), {}, None),
    ((2, 1, 8, 1), {}, None),
  ],
)  # fmt: skip
def test_what_does_not_divide_over_the_mesh_is_refused_before_it_compiles(mesh, change, match):
  made = build.settings(changed(**change))
  laid = jax.sharding.AbstractMesh(mesh, sharding.AXES)
  if match is None:
    build.check_mesh(made, laid)
  else:
    with refused(match):
      build.check_mesh(made, laid)
