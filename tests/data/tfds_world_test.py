"""The generated world as a TFDS data set is the generated world."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny import refused

from sorajax.data import tfds_world
from sorajax.worlds.draw import PLAYS
from sorajax.worlds.world import SPLITS, WorldConfig, generate

ASKED = '12,frames=9,fps=8,height=16,width=24,sample_rate_hz=8000,audio_channels=2'
FORM = WorldConfig(9, 8.0, 16, 24, 8000, 2)
WITHOUT_TENSORFLOW = """
import sys
import tensorflow_datasets as tfds
from sorajax.data import tfds_world

builder = tfds.builder('sorajax_world', config=tfds_world.config('1,frames=2,height=8,width=8'))
builder.download_and_prepare()
assert builder.as_data_source(split='train')[0]['video'].shape == (2, 8, 8, 3)
print('tensorflow' in sys.modules)
"""


@pytest.fixture(scope='module')
def builder(tmp_path_factory):
  made = tfds.builder(
    'sorajax_world', config=tfds_world.config(ASKED), data_dir=tmp_path_factory.mktemp('tfds')
  )
  made.download_and_prepare()
  return made


@pytest.mark.parametrize(('split', 'count'), zip(SPLITS, (12, 1, 1, 1)))
def test_what_is_read_is_what_the_world_makes(builder, split, count):
  clips = builder.as_data_source(split=split)
  assert len(clips) == count
  for number in range(count):
    clip, caption, truth = generate(FORM, split, 0, number)
    read = clips[number]
    np.testing.assert_array_equal(read['video'], clip.video, strict=True)
    np.testing.assert_array_equal(read['audio'], clip.audio, strict=True)
    assert read['caption'].decode() == caption and read['truth'].decode() == truth.to_json()


def test_the_folder_alone_can_be_read(builder):
  alone = tfds.builder_from_directory(builder.data_dir)
  assert dict(alone.info.metadata) == {'fps': 8.0, 'sample_rate_hz': 8000}
  read, made = (b.as_data_source(split='train')[7]['video'] for b in (alone, builder))
  np.testing.assert_array_equal(read, made)


def test_files_are_array_records(builder):
  files = [name for name in os.listdir(builder.data_dir) if '-of-' in name]
  assert len(files) == len(SPLITS) and all('.array_record-' in name for name in files)


def test_every_kind_has_a_config():
  names = {config.name: config.asked for config in tfds_world.SorajaxWorld.BUILDER_CONFIGS}
  assert set(names) == {'any', *PLAYS} and len(set(names.values())) == len(names)


def test_what_cannot_be_made_is_refused(tmp_path):
  with refused("unknown key 'hight'; did you mean height"):
    tfds.builder('sorajax_world', config=tfds_world.config('9,hight=8'), data_dir=tmp_path)


def test_tensorflow_is_never_imported(tmp_path):
  paths = os.pathsep.join([os.getcwd(), *filter(None, sys.path)])
  done = subprocess.run(
    [sys.executable, '-c', WITHOUT_TENSORFLOW], capture_output=True, text=True, timeout=120,
    env=os.environ | {'TFDS_DATA_DIR': str(tmp_path), 'PYTHONPATH': paths},
  )  # fmt: skip
  assert done.stdout.split()[-1:] == ['False'], done.stderr
