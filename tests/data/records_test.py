import dataclasses

import pytest

from sorajax.data import records
from sorajax.errors import UserError

EXAMPLE = records.Example(
  key='film.mp4#0003.001',
  media=b'\0\1\2',
  caption='ein grauer Häschen-Film',
  frames=25,
  height=64,
  width=96,
  samples=33333,
  fps=24000 / 1001,
  sample_rate_hz=16_000,
  audio_channels=1,
  source='folder/film.mp4',
  start_s=1.1,
)


def test_unpack_undoes_pack():
  assert records.unpack(records.pack(EXAMPLE)) == EXAMPLE


@pytest.mark.parametrize('record', [b'', b'\xc1', b'text', records.pack(EXAMPLE)[:-5]])
def test_other_bytes_are_refused(record):
  with pytest.raises(UserError, match=f'a record of {len(record)} bytes'):
    records.unpack(record)


def test_a_shard_gives_back_its_records_and_is_the_same_each_time(tmp_path):
  written = [records.pack(dataclasses.replace(EXAMPLE, key=str(n))) for n in range(20)]
  for name in ('one', 'two'):
    records.write_shard(tmp_path / name, written)
  assert list(records.read_shard(tmp_path / 'one')) == written
  assert (tmp_path / 'one').read_bytes() == (tmp_path / 'two').read_bytes()


def test_a_shard_is_whole_or_absent(tmp_path):
  def some():
    yield b'one'
    raise UserError('the film is damaged')

  with pytest.raises(UserError, match='damaged'):
    records.write_shard(tmp_path / 'shard', some())
  assert not list(tmp_path.iterdir())


def test_a_missing_or_damaged_shard_is_named(tmp_path):
  with pytest.raises(UserError, match='none'):
    list(records.read_shard(tmp_path / 'none'))
  (tmp_path / 'cut').write_bytes(b'no records here')
  with pytest.raises(UserError, match='cut'):
    list(records.read_shard(tmp_path / 'cut'))


def test_a_row_tells_the_sizes():
  row = records.row_of(EXAMPLE, 99)
  assert (row.key, row.frames, row.samples, row.bytes) == (EXAMPLE.key, 25, 33333, 99)
  assert row.caption_chars == len(EXAMPLE.caption)
  assert row.seconds == pytest.approx(25 * 1001 / 24000)
