import dataclasses
import pickle

import pytest
from clips import make_clip

from sorajax.data import sources
from sorajax.data.prepare import prepare
from sorajax.data.prepare_file import PrepareConfig
from sorajax.errors import UserError
from sorajax.media import reader, writer

CONFIG = PrepareConfig(
  frames=(5,), fps=12.0, height=32, width=32, sample_rate_hz=16_000, shards=2,
  validation_fraction=0.0,
)  # fmt: skip


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A finished data set of seven clips, in one split and two shards."""
  root = tmp_path_factory.mktemp('films')
  writer.write(root / 'film.mp4', make_clip(36))
  (root / 'film.txt').write_text('ein Häschen')
  prepare(root, root / 'out', CONFIG, workers=1)
  return root / 'out'


@pytest.fixture(scope='module')
def as_tfds(prepared, tmp_path_factory):
  return sources.build_tfds(prepared, tmp_path_factory.mktemp('tfds'))


def test_a_folder_serves_examples_as_its_rows_say(prepared):
  source = sources.open_source(prepared, 'train')
  assert len(source) == len(source.rows) == 7
  for number, row in enumerate(source.rows):
    example = source[number]
    assert (example.key, example.source, example.start_s) == (row.key, row.source, row.start_s)
    clip = reader.read(example.media)
    assert clip.video.shape == (row.frames, row.height, row.width, 3)
    assert clip.audio.shape == (row.samples, row.audio_channels)
    assert row.caption_chars == len(example.caption) == 11


def test_tfds_serves_the_same_examples_in_the_same_order(prepared, as_tfds):
  folder = sources.open_source(prepared, 'train')
  tfds = sources.open_source(f'tfds:{as_tfds}', 'train')
  assert [tfds[i] for i in range(len(tfds))] == [folder[i] for i in range(len(folder))]
  assert tfds.rows == folder.rows and tfds.fingerprint == folder.fingerprint


@pytest.mark.parametrize('kind', ['folder', 'tfds'])
def test_a_source_travels_to_a_worker(prepared, as_tfds, kind):
  source = sources.open_source({'folder': prepared, 'tfds': f'tfds:{as_tfds}'}[kind], 'train')
  packed = pickle.dumps(source)
  assert len(packed) < 1000
  arrived = pickle.loads(packed)
  assert arrived[3] == source[3] and arrived.fingerprint == source.fingerprint


def test_other_content_has_another_fingerprint(prepared, tmp_path):
  other = tmp_path / 'other'
  prepare(prepared.parent, other, dataclasses.replace(CONFIG, height=16), workers=1)
  one, two = (sources.open_source(folder, 'train') for folder in (prepared, other))
  assert one.fingerprint != two.fingerprint


def test_what_is_no_data_set_is_refused_in_one_line(prepared, tmp_path):
  with pytest.raises(UserError, match='no such folder'):
    sources.open_source(tmp_path / 'none', 'train')
  with pytest.raises(UserError, match='not a finished data set'):
    sources.open_source(tmp_path, 'train')
  with pytest.raises(UserError, match=r"no clips in split 'test'; it has train \(7 clips\)"):
    sources.open_source(prepared, 'test')
  with pytest.raises(UserError, match='no TFDS data set'):
    sources.open_source(f'tfds:{tmp_path}', 'train')


def test_a_lost_or_damaged_part_is_named(prepared, tmp_path):
  copy = tmp_path / 'copy'
  copy.mkdir()
  for path in prepared.iterdir():
    (copy / path.name).write_bytes(path.read_bytes())
  shard = copy / 'train-00001-of-00002.array_record'
  (copy / 'train-00000-of-00002.array_record').replace(shard)
  with pytest.raises(UserError, match='has lost its shard train-00000-of-00002'):
    sources.open_source(copy, 'train')
  (copy / 'train-00000-of-00002.array_record').write_bytes(shard.read_bytes())
  with pytest.raises(UserError, match='6 clips in its shards, 7 in its index'):
    sources.open_source(copy, 'train')
  shard.write_bytes(b'no records')
  with pytest.raises(UserError, match='has a damaged shard'):
    sources.open_source(copy, 'train')
  (copy / 'index.json').write_text('{"format": 1}')
  with pytest.raises(UserError, match='prepare the data set again'):
    sources.open_source(copy, 'train')
