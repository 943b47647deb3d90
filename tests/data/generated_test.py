import dataclasses

import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax.data.generated import write_clips
from sorajax.data.prepare_file import PrepareConfig
from sorajax.data.sources import build_tfds, clip_of, open_source

CONFIG = PrepareConfig(
  frames=(5,), fps=8.0, height=16, width=16, sample_rate_hz=8000, audio_channels=1
)


def scene(split: str, number: int):
  clip = tiny.make_clip(
    5, seed=number + 1000 * (split == 'train'), size=(16, 16), fps=8.0, rate_hz=8000
  )
  return clip, f'{split} {number}', f'{{"number": {number}}}'


def write(folder, **changes):
  write_clips(folder, CONFIG, scene, **{'name': 'scenes', 'count': 20, 'seed': 0, **changes})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('made')
  write(folder)
  return folder


def test_clips_and_captions_come_back(folder):
  train, held = (open_source(folder, split) for split in ('train', 'validation'))
  assert (len(train), len(held)) == (20, 2)
  wanted, caption, truth = scene('train', 7)
  assert (train[7].caption, train[7].truth) == (caption, truth)
  np.testing.assert_array_equal(clip_of(train[7]).audio.shape, wanted.audio.shape)
  assert np.abs(clip_of(train[7]).video.astype(int) - wanted.video).mean() < 12  # H.264


def test_no_held_out_clip_is_a_training_clip(folder):
  captions = {split: {open_source(folder, split)[i].caption for i in range(2)}
              for split in ('train', 'validation')}  # fmt: skip
  assert not captions['train'] & captions['validation']


def test_tfds_keeps_what_is_true_of_a_clip(folder, tmp_path):
  stored, tfds = open_source(folder, 'train'), build_tfds(folder, tmp_path)
  assert open_source(f'tfds:{tfds}', 'train')[7] == stored[7] and stored[7].truth


def test_shards_are_cut_where_they_are_full(folder, tmp_path, monkeypatch):
  monkeypatch.setattr('sorajax.data.generated.SHARD_CLIPS', 8)
  (tmp_path / '.train-00001-of-00003.array_record.0123456789ab.tmp').touch()  # as SIGTERM leaves it
  write(tmp_path)
  assert not list(tmp_path.glob('*.tmp'))
  assert len(list(tmp_path.glob('train-*-of-00003.array_record'))) == 3
  whole, cut = (open_source(f, 'train') for f in (folder, tmp_path))
  assert [whole[i].caption for i in range(20)] == [cut[i].caption for i in range(20)]


def test_what_is_whole_stays_and_other_data_is_refused(folder):
  before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
  write(folder)
  assert before == {file: file.stat().st_mtime_ns for file in folder.iterdir()}
  for change in ({'seed': 1}, {'count': 30}, {'name': 'others'}):
    with refused('holds another data set; name a new folder'):
      write(folder, **change)
  with refused('holds another data set'):
    write_clips(
      folder, dataclasses.replace(CONFIG, fps=9.0), scene, name='scenes', count=20, seed=0
    )
