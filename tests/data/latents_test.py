import dataclasses
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax.codec import codec as codec_lib
from sorajax.data import index as index_lib
from sorajax.data import latents, records
from sorajax.data.references import Reference
from sorajax.data.sources import open_source
from sorajax.geometry import NOTHING, Beside
from sorajax.media import drawings, writer


def example(number: int, clip) -> records.Example:
  frames, height, width = clip.video.shape[:3]
  return records.Example(
    key=f'film#{number}', media=writer.to_bytes(clip), caption=f'Häschen {number}', frames=frames,
    height=height, width=width, samples=len(clip.audio), fps=clip.fps,
    sample_rate_hz=clip.sample_rate_hz, audio_channels=clip.audio.shape[1], source='film',
    start_s=0.0,
  )  # fmt: skip


def write_prepared(folder: Path, first: int = 0, identity: str = 'one') -> Path:
  """A finished folder of clips: two shards of training and one of validation."""
  folder.mkdir()
  clips = tiny.clips(8)
  splits, number = {}, first
  for split, counts in (('train', (2, 1)), ('validation', (1,))):
    shards, rows = [], []
    for shard, count in enumerate(counts):
      packed = []
      for _ in range(count):
        item = example(number, clips[number])
        packed.append(records.pack(item))
        rows.append(records.row_of(item, len(packed[-1])))
        number += 1
      shards.append(f'{split}-{shard:05d}-of-{len(counts):05d}.array_record')
      records.write_shard(folder / shards[-1], packed)
    splits[split] = index_lib.Split(tuple(shards), tuple(rows))
  index_lib.save(folder, index_lib.Index(identity, {}, splits, {}, ()))
  return folder


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  return write_prepared(tmp_path_factory.mktemp('clips') / 'prepared')


@pytest.fixture(scope='module')
def stored(prepared, tmp_path_factory):
  folder = tmp_path_factory.mktemp('latents') / 'stored'
  latents.encode(prepared, tiny.codec(), folder, workers=1)
  return folder


def content(folder: Path) -> dict[str, bytes]:
  return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def encoded(item: records.Example):
  return tiny.codec().encode(latents.clip_of(item)), item.caption


def assert_same(a, b, rtol: float = 0.0, atol: float = 0.0) -> None:
  (x, caption), (y, wanted) = a, b
  assert caption == wanted
  assert (x.fps, x.frames, x.samples) == (y.fps, y.frames, y.samples)
  for m in ('video', 'audio'):
    assert getattr(x, m).dtype == np.float32
    np.testing.assert_allclose(getattr(x, m), getattr(y, m), rtol=rtol, atol=atol)


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_stored_latents_are_those_encoded_as_they_are_read(prepared, stored, split):
  """To half the spacing of float16 numbers."""
  kept, clips = latents.open_latents(stored, split), open_source(prepared, split)
  assert len(kept) == len(clips) and kept.rows == clips.rows
  for number in range(len(kept)):
    assert_same(kept[number], encoded(clips[number]), rtol=2**-11, atol=2**-25)


def test_tokens_are_counted_without_reading_a_clip(stored):
  source = latents.open_latents(stored, 'train')
  sizes = latents.token_sizes(source.rows, source.codec.geometry)
  for size, number in zip(sizes, range(len(source))):
    found, _ = source[number]
    assert tuple(size) == (found.video[..., 0].size, len(found.audio))


def test_a_clip_that_does_not_fit_the_codec_is_named(stored):
  source = latents.open_latents(stored, 'train')
  rows = (*source.rows, dataclasses.replace(source.rows[0], key='odd', frames=10))
  with refused('clip odd: 10 frames do not fit'):
    latents.token_sizes(rows, source.codec.geometry)


def test_latents_travel_to_a_worker_by_name(stored):
  source = latents.open_latents(stored, 'train')
  packed = pickle.dumps(source)
  assert len(packed) < 1000
  assert_same(pickle.loads(packed)[1], source[1])


def killed_after_a_shard(prepared: Path, folder: Path, monkeypatch) -> Path:
  """Encodes until the second shard is begun; returns the first."""
  write = records.write_shard

  def dying(path, packed) -> None:
    if list(folder.glob('*.array_record')):
      raise KeyboardInterrupt
    write(path, packed)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(latents, 'write_shard', dying)
    latents.encode(prepared, tiny.codec(), folder, workers=1)
  (shard,) = folder.glob('*.array_record')
  return shard


def test_a_killed_run_goes_on_and_writes_the_same_bytes(prepared, stored, tmp_path, monkeypatch):
  folder = tmp_path / 'killed'
  kept = killed_after_a_shard(prepared, folder, monkeypatch)
  (folder / '.train-00001-of-00002.array_record.0123456789ab.tmp').touch()  # as SIGTERM leaves it
  before = kept.stat().st_mtime_ns
  codec = latents.fit_or_load(prepared, folder, tiny.CODEC)
  assert codec.fingerprint == tiny.codec().fingerprint  # the one there, though others were fitted
  latents.encode(prepared, codec, folder, workers=1)
  assert content(folder) == content(stored) and kept.stat().st_mtime_ns == before


def test_a_finished_folder_is_left_as_it_is(prepared, stored):
  before = {p: p.stat().st_mtime_ns for p in stored.rglob('*')}
  index = latents.encode(prepared, tiny.codec(), stored, workers=1)
  assert index == index_lib.load(stored)
  assert {p: p.stat().st_mtime_ns for p in stored.rglob('*')} == before


def test_a_generated_world_is_encoded_without_its_clips_being_stored(tmp_path, monkeypatch):
  monkeypatch.setattr(latents, 'SHARD_CLIPS', 3)
  world = 'world:10,frames=9,fps=8,height=8,width=12,sample_rate_hz=8000'
  index = latents.encode(world, tiny.codec(), tmp_path / 'out', workers=1)
  assert [len(split.shards) for split in index.splits.values()] == [4, 1]
  for split, count in (('train', 10), ('validation', 1)):
    kept, clips = latents.open_latents(tmp_path / 'out', split), open_source(world, split)
    assert len(kept) == count == len({row.key for row in kept.rows})
    for number in range(count):
      assert_same(kept[number], encoded(clips[number]), rtol=2**-11, atol=2**-25)
  with refused('holds latents of other clips'):
    latents.encode(world.replace('10', '11', 1), tiny.codec(), tmp_path / 'out', workers=1)


def test_workers_write_the_same_bytes(prepared, stored, tmp_path):
  latents.encode(prepared, tiny.codec(), tmp_path / 'two', workers=2)
  assert content(tmp_path / 'two') == content(stored)


def test_a_run_killed_while_it_kept_the_codec_goes_on(prepared, stored, tmp_path):
  folder = tmp_path / 'killed'
  (folder / latents.CODEC).mkdir(parents=True)
  (folder / latents.CODEC / 'codec.npz').write_bytes(b'half')
  latents.encode(prepared, tiny.codec(), folder, workers=1)
  assert content(folder) == content(stored)


def test_latents_of_other_clips_are_never_taken_for_these(prepared, tmp_path, monkeypatch):
  """A run over some clips is killed; the next one, over others, has the same output folder."""
  killed_after_a_shard(prepared, tmp_path / 'mixed', monkeypatch)
  others = write_prepared(tmp_path / 'others', first=4, identity='two')
  with refused('mixed holds latents of other clips, half done; choose another output'):
    latents.encode(others, tiny.codec(), tmp_path / 'mixed', workers=1)


def test_what_was_made_otherwise_is_refused(prepared, stored, tmp_path):
  other = tiny.codec(dataclasses.replace(tiny.CODEC, video_whiten=0.3))
  with refused('holds latents of another codec'):
    latents.encode(prepared, other, stored, workers=1)
  others = write_prepared(tmp_path / 'others', first=4, identity='two')
  with refused('holds latents of other clips'):
    latents.encode(others, tiny.codec(), stored, workers=1)
  with refused('holds clips and no codec'):
    latents.open_latents(prepared, 'train')
  with refused("no latents in split 'test'"):
    latents.open_latents(stored, 'test')
  with refused('no data set at'):
    latents.open_latents(tmp_path / 'none', 'train')


@pytest.fixture(scope='module')
def after_grey(prepared, tmp_path_factory):
  folder = tmp_path_factory.mktemp('after') / 'grey'
  latents.encode(prepared, tiny.codec(), folder, workers=2, reference=Reference('grey'))
  return folder


def test_clips_may_be_made_after_a_drawing_of_themselves(prepared, stored, after_grey):
  source, without = (latents.open_latents(folder, 'train') for folder in (after_grey, stored))
  clips = open_source(prepared, 'train')
  assert (source.beside, without.beside) == (Beside(smaller=1), NOTHING)
  assert source.fingerprint != without.fingerprint
  for number in range(len(source)):
    (found, caption), plain = source[number], without[number]
    drawn = drawings.drawn(latents.clip_of(clips[number]).video, 'grey')
    wanted = tiny.codec().encode_picture(drawn)
    np.testing.assert_allclose(found.reference, wanted, rtol=2**-11, atol=2**-25)
    assert_same((dataclasses.replace(found, reference=None), caption), plain, 0, 0)
  sizes = latents.token_sizes(source.rows, source.codec.geometry, source.beside)
  own = latents.token_sizes(source.rows, source.codec.geometry)
  np.testing.assert_array_equal(sizes, own * [2, 1])


def test_clips_may_be_made_after_those_of_another_folder(prepared, stored, tmp_path):
  """Here after themselves, which is told from those that are after something else."""
  pair = Reference(str(prepared))
  latents.encode(prepared, tiny.codec(), tmp_path / 'out', workers=1, reference=pair)
  for found, _ in map(latents.open_latents(tmp_path / 'out', 'train').__getitem__, range(3)):
    np.testing.assert_array_equal(found.reference, found.video)
  with refused('out holds latents of other clips'):
    latents.encode(prepared, tiny.codec(), tmp_path / 'out', workers=1)


def test_frames_of_clips_may_be_coded_alone_too(prepared, stored, tmp_path):
  latents.encode(prepared, tiny.codec(), tmp_path / 'out', workers=1, keyframes=2)
  source, without = (latents.open_latents(f, 'train') for f in (tmp_path / 'out', stored))
  clips = open_source(prepared, 'train')
  assert source.beside == Beside(keyframes=2) and source.fingerprint != without.fingerprint
  for number in range(len(source)):
    (found, caption), plain = source[number], without[number]
    frames = latents.clip_of(clips[number]).video
    assert found.keyframe_at == (len(frames) // 2, len(frames) - 1)
    wanted = np.concatenate([tiny.codec().encode_picture(frames[[i]]) for i in found.keyframe_at])
    np.testing.assert_allclose(found.keyframes, wanted, rtol=2**-11, atol=2**-25)
    alone = dataclasses.replace(found, keyframes=None, keyframe_at=())
    assert_same((alone, caption), plain, 0, 0)
  sizes = latents.token_sizes(source.rows, source.codec.geometry, source.beside)
  assert sizes.tolist() == [
    [source[i][0].video_tokens, len(source[i][0].audio)] for i in range(len(source))
  ]
  with refused('out holds latents of other clips'):
    latents.encode(prepared, tiny.codec(), tmp_path / 'out', workers=1, keyframes=3)


def test_references_that_are_not_there_are_refused(prepared, tmp_path):
  encode = lambda **changes: latents.encode(
    prepared, tiny.codec(), tmp_path / 'out', workers=1, reference=Reference(**changes)
  )
  others = write_prepared(tmp_path / 'others', first=4, identity='two')
  with refused('others has no clip film#0 in train, which is to be a reference'):
    encode(source=str(others))
  shutil.rmtree(tmp_path / 'out')
  with refused(r'film#0 is \(9, 8, 12\) .* a reference 2 times smaller is \(9, 4, 6\)'):
    encode(source=str(prepared), smaller=2)
  shutil.rmtree(tmp_path / 'out')
  with refused('no data set at grau'):
    encode(source='grau')


def test_a_codec_is_fitted_on_the_training_clips(prepared, tmp_path):
  codec = latents.fit_or_load(prepared, tmp_path, tiny.CODEC)
  source = open_source(prepared, 'train')
  assert codec.geometry == tiny.codec().geometry
  clip = latents.clip_of(source[0])
  error = codec.decode(codec.encode(clip)).video.astype(float) - clip.video
  assert np.square(error).mean() < np.square(clip.video - clip.video.mean()).mean() / 4


SPECTRA = dataclasses.replace(tiny.CODEC, mels=16)


@pytest.mark.parametrize(
  'config, changes',
  [
    (tiny.CODEC, {'stride': (4, 4, 4)}),
    (tiny.CODEC, {'video_channels': 9}),
    (tiny.CODEC, {'frame_samples': 20, 'group': 4}),
    (tiny.CODEC, {'mels': 16}),
    (SPECTRA, {'mels': 0}),
    (SPECTRA, {'floor': 1e-4}),
    (SPECTRA, {'audio_channels': 7}),
  ],
)
def test_a_codec_fitted_by_another_config_is_refused(prepared, tmp_path, config, changes):
  tiny.codec(config).save(tmp_path / latents.CODEC)
  kept = latents.fit_or_load(prepared, tmp_path, config)
  assert kept.fingerprint == tiny.codec(config).fingerprint
  name, value = next(iter(changes.items()))
  says = re.escape(f'another codec ({name}={getattr(config, name)}, not {value}); choose another')
  with refused(says):
    latents.fit_or_load(prepared, tmp_path, dataclasses.replace(config, **changes))


def test_what_takes_the_place_of_half_a_codec_is_not_compared_with_the_config(prepared, tmp_path):
  learned = codec_lib.load('film').audio
  dataclasses.replace(tiny.codec(), audio=learned).save(tmp_path / latents.CODEC)
  latents.fit_or_load(prepared, tmp_path, tiny.CODEC, halves=('video',))
  with refused(r'another codec \(a learned one\)'):
    latents.fit_or_load(prepared, tmp_path, tiny.CODEC)


def test_captions_are_read_of_splits_that_hold_any(stored, tmp_path):
  shutil.copytree(stored, tmp_path / 'all')
  index = index_lib.load(stored)
  empty = {**index.splits, 'validation': index_lib.Split((), ())}
  index_lib.save(tmp_path / 'all', dataclasses.replace(index, splits=empty))
  assert latents.captions(tmp_path / 'all') == [f'Häschen {number}' for number in range(3)]


def test_a_limited_choice_of_clips_spans_the_whole(prepared):
  source = open_source(prepared, 'train')
  keys = lambda limit: [source[int(i)].key for i in latents.Clips(source, limit)._numbers]
  assert keys(2) == ['film#0', 'film#2'] and keys(9) == ['film#0', 'film#1', 'film#2']
  chosen = latents.Clips(source, 2)
  assert len(list(chosen)) == len(list(chosen)) == 2


def test_unpack_undoes_pack_to_half_precision(stored):
  source = latents.open_latents(stored, 'train')
  found = source[0]
  assert_same(latents.unpack(latents.pack(*found)), found)


@pytest.mark.parametrize('record', [b'', b'\xc1', b'text', b'\x80'])
def test_other_bytes_are_refused(record):
  with refused('cannot read a record'):
    latents.unpack(record)
