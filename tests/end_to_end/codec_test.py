"""A learned codec from clips to sampled films, every stage through its command line."""

import json
import shutil

import numpy as np
import pytest
from clips import scene
from programs import TINY, run

from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.sound import MelCodec, SqueezeCodec
from sorajax.data.latents import open_latents
from sorajax.media import reader, writer

pytestmark = pytest.mark.long
TINY_CODEC = '--config=configs/tiny_codec.py'


@pytest.fixture(scope='module')
def trained(walk, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('codec')
  run(
    'launch/train_codec.py', TINY_CODEC, f'--config.data.path={walk}/clips', f'--workdir={workdir}'
  )
  return workdir


def metrics(workdir) -> list[dict]:
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_training_leaves_a_codec_curves_and_pictures(trained):
  codec = codec_lib.load(trained / 'codec')
  assert isinstance(codec.video, ConvCodec) and codec.geometry.video.stride == (2, 8, 8)
  assert (trained / 'curves.png').is_file() and (trained / 'reconstructions.png').is_file()
  held = [line for line in metrics(trained) if line['kind'] == 'held_out']
  assert [line['step'] for line in held] == [0, 3, 6] and held[-1]['psnr_db'] > 0


@pytest.mark.parametrize('half', ['picture', 'mel'])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(half, walk, tmp_path):
  """Its last checkpoint is taken away, as if it had been killed before that was whole."""
  flags = [f'--config=configs/tiny_codec.py:{half}', f'--config.data.path={walk}/clips']
  flags.append(f'--workdir={tmp_path}')
  run('launch/train_codec.py', *flags)
  whole, last = metrics(tmp_path), tmp_path / 'checkpoints' / '6'
  shutil.rmtree(last)
  run('launch/train_codec.py', *flags)
  assert metrics(tmp_path) == whole and last.is_dir()


def test_a_model_learns_and_samples_in_its_latents(trained, walk, tmp_path):
  latents, workdir = tmp_path / 'latents', tmp_path / 'run'
  run(
    'launch/encode.py', TINY, f'--codec={trained}/codec', f'--input={walk}/clips',
    f'--output={latents}', '--workers=1',
  )  # fmt: skip
  assert isinstance(open_latents(latents, 'train').codec.video, ConvCodec)
  few = ['--config.train.steps=2', '--config.train.evaluate_every=0']
  run('launch/train.py', TINY, *few, f'--config.data.path={latents}', f'--workdir={workdir}')
  run('launch/sample.py', f'--checkpoint={workdir}', f'--out={tmp_path}/clips', '--prompt=one')
  (film,) = (tmp_path / 'clips').glob('*.mp4')
  assert reader.read(film).video.shape == (8, 16, 16, 3)


@pytest.mark.parametrize(('half', 'kind'), [('sound', SqueezeCodec), ('mel', MelCodec)])
def test_a_sound_codec_is_trained_and_takes_the_place_of_the_linear_one(
  half, kind, trained, walk, tmp_path
):
  flags = [f'--config=configs/tiny_codec.py:{half}', f'--config.data.path={walk}/clips']
  run('launch/train_codec.py', *flags, f'--workdir={tmp_path}/run')
  held = [line for line in metrics(tmp_path / 'run') if line['kind'] == 'held_out']
  assert len(held) == 3 and np.isfinite(held[-1]['mel_distance'])
  run(
    'launch/encode.py', TINY, f'--codec={trained}/codec', f'--sound={tmp_path}/run/codec',
    f'--input={walk}/clips', f'--output={tmp_path}/latents', '--workers=1',
  )  # fmt: skip
  codec = open_latents(tmp_path / 'latents', 'train').codec
  assert isinstance(codec.video, ConvCodec) and isinstance(codec.audio, kind)
  assert codec.audio.geometry.channels == 16


def test_a_film_of_any_length_is_encoded_and_decoded(trained, tmp_path):
  clip = Clip(scene(1, 21, 32, 48), np.zeros((0, 1), np.float32), 8.0, 8000)
  writer.write(tmp_path / 'in.mp4', clip)
  flags = [f'--codec={trained}/codec', f'--input={tmp_path}/in.mp4', '--size=16x24']
  run('launch/encode_film.py', *flags, f'--output={tmp_path}/latents')
  run('launch/decode_film.py', f'--input={tmp_path}/latents', f'--out={tmp_path}/out.mp4')
  assert reader.read(tmp_path / 'out.mp4').video.shape == (21, 16, 24, 3)
  error = run(
    'launch/encode_film.py', *flags[:2], f'--output={tmp_path}/b', '--size=9x9', fails=True
  )
  assert error.strip().splitlines()[-1].startswith('error: 9×9 pixels do not divide by 8×8')


def test_a_missing_path_and_short_clips_are_refused_in_one_line(walk, tmp_path):
  usual = [TINY_CODEC, f'--workdir={tmp_path}']
  error = run('launch/train_codec.py', *usual, fails=True)
  assert error.strip().splitlines()[-1].startswith('error: config.data.path is empty')
  flags = [*usual, f'--config.data.path={walk}/clips']
  error = run('launch/train_codec.py', *flags, '--config.data.frames=99', fails=True)
  assert error.strip().splitlines()[-1].startswith('error: none of')
  error = run('launch/train_codec.py', *flags, '--config.data.frames=4', fails=True)
  assert '4 frames do not fit' in error and 'try 5' in error
