import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clips import join, make_clip, scene
from PIL import Image

from sorajax.clip import Clip
from sorajax.data import prepare_file as file_lib
from sorajax.data.prepare import prepare, walk
from sorajax.data.prepare_file import PrepareConfig
from sorajax.data.records import read_shard, unpack
from sorajax.errors import UserError
from sorajax.media import reader, writer

CONFIG = PrepareConfig(
  frames=(13, 5), fps=12.0, height=32, width=32, sample_rate_hz=16_000, validation_fraction=0.3
)


@pytest.fixture
def films(tmp_path):
  """Three films of three shots each, in two folders, with an image and captions."""
  root = tmp_path / 'films'
  (root / 'inner').mkdir(parents=True)
  for number, name in enumerate(('a.mp4', 'inner/b.mp4', 'c.mp4')):
    shots = [make_clip(frames, seed=3 * number + shot) for shot, frames in enumerate((20, 27, 14))]
    writer.write(root / name, join(*shots))
  Image.fromarray(scene(1, 1)[0]).save(root / 'image.png')
  (root / 'a.txt').write_text('a square\n moves')
  return root


def content(folder: Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def examples(folder: Path):
  return [unpack(r) for p in sorted(folder.glob('*.array_record')) for r in read_shard(p)]


def test_clips_lie_within_their_shots_and_equal_the_film(films, tmp_path):
  index = prepare(films, tmp_path / 'out', CONFIG, workers=1)
  assert not index.skipped and not index.dropped
  lengths = {}
  for example in examples(tmp_path / 'out'):
    lengths.setdefault(example.source, []).append((example.start_s, example.frames))
    if example.source == 'image.png':
      continue
    stored = reader.read(example.media)
    span = reader.read(
      films / example.source, start_s=example.start_s, frames=example.frames, size=(32, 32)
    )
    assert stored.video.shape == (example.frames, 32, 32, 3)
    assert np.abs(stored.video.astype(int) - span.video).mean() < 2
    np.testing.assert_allclose(stored.audio, span.audio, atol=1e-4)
  # Shots of 20, 27 and 14 frames hold 13 + 5, 13 + 13 and 13.
  expected = [(0, 13), (13, 5), (20, 13), (33, 13), (47, 13)]
  for name in ('a.mp4', 'inner/b.mp4', 'c.mp4'):
    found = sorted((round(start_s * 12), frames) for start_s, frames in lengths[name])
    assert found == expected
  assert lengths['image.png'] == [(0.0, 1)]


def test_the_index_tells_what_the_shards_hold(films, tmp_path):
  out = tmp_path / 'out'
  prepare(films, out, dataclasses.replace(CONFIG, shards=3), workers=1)
  index = json.loads((out / 'index.json').read_text())
  assert sorted(path.name for path in out.iterdir()) == sorted(
    ['index.json', *(name for split in index['splits'].values() for name in split['shards'])]
  )
  assert len(index['splits']['train']['shards']) == 3
  for split in index['splits'].values():
    stored = [unpack(r) for name in split['shards'] for r in read_shard(out / name)]
    assert [example.key for example in stored] == [row['key'] for row in split['rows']]
    assert split['clips'] == len(stored)
    assert split['captioned'] == sum(bool(example.caption) for example in stored)
  assert sum(split['clips'] for split in index['splits'].values()) == 16


def test_train_and_validation_share_no_shot(films, tmp_path):
  config = dataclasses.replace(CONFIG, validation_fraction=0.5)
  index = prepare(films, tmp_path / 'out', config, workers=1)
  shots = {
    name: {row.key.split('.')[0:-1].__str__() for row in split.rows}
    for name, split in index.splits.items()
  }
  assert shots['train'] and shots['validation']
  assert not shots['train'] & shots['validation']


def test_every_engine_and_every_run_gives_the_same_bytes(films, tmp_path):
  prepare(films, tmp_path / 'one', CONFIG, workers=1)
  expected = content(tmp_path / 'one')
  prepare(films, tmp_path / 'two', CONFIG, workers=2)
  assert content(tmp_path / 'two') == expected
  pytest.importorskip('apache_beam', reason="needs pip install 'sorajax[beam]'")
  prepare(films, tmp_path / 'beam', CONFIG, runner='DirectRunner', workers=1)
  assert content(tmp_path / 'beam') == expected


def test_a_finished_data_set_is_left_alone(films, tmp_path, monkeypatch):
  out = tmp_path / 'out'
  index = prepare(films, out, CONFIG, workers=1)
  before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
  monkeypatch.setattr(file_lib, 'detect_shots', None)
  assert prepare(films, out, CONFIG, workers=1) == index
  assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
  with pytest.raises(UserError, match='height=32, not 64'):
    prepare(films, out, dataclasses.replace(CONFIG, height=64))
  (films / 'a.txt').write_text('another caption')
  with pytest.raises(UserError, match='films or captions have changed'):
    prepare(films, out, CONFIG)


def test_a_killed_run_goes_on_where_it_was(films, tmp_path, monkeypatch):
  prepare(films, tmp_path / 'whole', CONFIG, workers=1)
  out = tmp_path / 'killed'
  program = f"""
import time
from sorajax.data import prepare_file
from sorajax.data.prepare import PrepareConfig, prepare
done = []
def slow(path, found=prepare_file.detect_shots):
  if done:
    time.sleep(60)
  done.append(path)
  return found(path)
prepare_file.detect_shots = slow
prepare({str(films)!r}, {str(out)!r}, PrepareConfig(**{dataclasses.asdict(CONFIG)!r}), workers=1)
"""
  environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
  process = subprocess.Popen([sys.executable, '-c', program], env=environment)
  deadline = time.monotonic() + 60
  while not list(out.glob('.parts/*.json')) and time.monotonic() < deadline:
    time.sleep(0.02)
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  assert not (out / 'index.json').exists()
  (out / '.train-00000-of-00001.array_record.0123456789ab.tmp').touch()  # as SIGTERM leaves it
  looked_at = []

  def counted(path, found=file_lib.detect_shots):
    looked_at.append(Path(path).name)
    return found(path)

  monkeypatch.setattr(file_lib, 'detect_shots', counted)
  prepare(films, out, CONFIG, workers=1)
  assert looked_at == ['c.mp4', 'b.mp4']  # a.mp4 is done; the image has no shots
  assert content(out) == content(tmp_path / 'whole')


def test_what_cannot_be_used_is_named_and_the_rest_is_kept(films, tmp_path):
  film = (films / 'c.mp4').read_bytes()
  (films / 'cut.mp4').write_bytes(film[: len(film) // 2])
  (films / 'empty.webm').touch()
  (films / 'text.mkv').write_text('not a film')
  (films / 'notes.txt').write_text('about the films')
  (films / 'bad.png').write_bytes(b'no image')
  (films / 'c.json').write_text('{"spans": [{"start_s": 3, "end_s": 1, "caption": "x"}]}')
  (films / 'inner' / 'b.txt').write_bytes(b'\xff\xfe caption')
  (films / 'linked').symlink_to(films / 'inner')
  (films / 'a\tb.mp4').touch()
  (films / os.fsdecode(b'caf\xe9.mp4')).touch()
  index = prepare(films, tmp_path / 'out', CONFIG, workers=2)
  reasons = {item['file']: item['reason'] for item in index.skipped}
  assert list(reasons) == [
    "'a\\tb.mp4'", "'caf\\udce9.mp4'", 'bad.png', 'c.json', 'cut.mp4', 'empty.webm', 'inner/b.txt',
    'linked', 'notes.txt', 'text.mkv',
  ]  # fmt: skip
  assert 'cut short' in reasons['cut.mp4'] and 'empty' in reasons['empty.webm']
  assert 'not UTF-8' in reasons['inner/b.txt'] and '3.0 s to 1.0 s' in reasons['c.json']
  assert 'a link to a folder' in reasons['linked'] and 'control' in reasons["'a\\tb.mp4'"]
  assert reasons['notes.txt'] == 'not a film or an image'
  assert str(tmp_path) not in json.dumps(index.skipped)
  assert sum(len(split.rows) for split in index.splits.values()) == 16


def test_poor_clips_are_dropped_with_a_reason(tmp_path):
  root = tmp_path / 'films'
  root.mkdir()
  good, other = make_clip(13), make_clip(13, seed=5)
  still = np.repeat(good.video[:1], 13, 0)
  films = {
    'black': dataclasses.replace(good, video=good.video // 60),
    'frozen': dataclasses.replace(good, video=still),
    'no_sound': dataclasses.replace(other, audio=other.audio[:0]),
    'silent': dataclasses.replace(other, audio=other.audio * 1e-4),
    'too_short': make_clip(4),
    'good': good,
  }
  for name, clip in films.items():
    writer.write(root / f'{name}.mp4', clip)
  config = dataclasses.replace(CONFIG, frames=(13,))
  index = prepare(root, tmp_path / 'out', config, workers=1)
  reasons = dict.fromkeys(('black', 'frozen', 'no_sound', 'silent', 'too_short'), 1)
  assert index.dropped == reasons
  kept = prepare(root, tmp_path / 'kept', dataclasses.replace(config, keep_silent=True), workers=1)
  assert kept.dropped == dict.fromkeys(('black', 'frozen', 'too_short'), 1)


def test_a_clip_takes_the_caption_that_covers_most_of_it(films, tmp_path):
  mark = '\ufeff'  # that some editors begin a file with
  (films / 'a.txt').write_text(f'{mark}a square\n moves', encoding='utf-8')
  spans = [
    {'start_s': 0.0, 'end_s': 0.9, 'caption': 'first'},
    {'start_s': 0.9, 'end_s': 1.4, 'caption': 'second'},
    {'start_s': 3.6, 'end_s': 4.0, 'caption': 'too little'},
  ]
  (films / 'c.json').write_text(mark + json.dumps({'credit': 'someone', 'spans': spans}))
  prepare(films, tmp_path / 'out', CONFIG, workers=1)
  captions = {
    (example.source, round(example.start_s * 12)): example.caption
    for example in examples(tmp_path / 'out')
  }
  assert captions['c.mp4', 0] == 'first' and captions['c.mp4', 13] == 'second'
  assert captions['c.mp4', 20] == captions['c.mp4', 47] == ''
  assert captions['a.mp4', 0] == captions['a.mp4', 47] == 'a square moves'


def test_bad_folders_are_refused_in_one_line(films, tmp_path):
  with pytest.raises(UserError, match='no input folder'):
    prepare(tmp_path / 'none', tmp_path / 'out', CONFIG)
  (tmp_path / 'empty').mkdir()
  with pytest.raises(UserError, match='holds no film or image'):
    prepare(tmp_path / 'empty', tmp_path / 'out', CONFIG)
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='name another folder'):
    prepare(films, tmp_path / 'file' / 'out', CONFIG)
  assert not (tmp_path / 'out').exists()


def test_a_folder_without_one_good_clip_is_refused_with_the_counts(tmp_path):
  root = tmp_path / 'films'
  root.mkdir()
  writer.write(root / 'short.mp4', make_clip(3))
  (root / 'empty.mp4').touch()
  with pytest.raises(
    UserError, match=r'no clip of .* was kept \(1 too_short; cannot read empty.mp4'
  ):
    prepare(root, tmp_path / 'out', CONFIG, workers=1)


def test_the_output_may_lie_inside_the_input(films):
  first = prepare(films, films / 'out', CONFIG, workers=1)
  assert prepare(films, films / 'out', CONFIG, workers=1) == first


def test_the_output_may_be_the_input_and_loses_nothing(films):
  """Not even what lies where the parts did, which is no film of the input."""
  for folder in ('parts', '.parts'):
    (films / folder).mkdir()
    shutil.copy(films / 'c.mp4', films / folder / 'own.mp4')
  before = {path: path.read_bytes() for path in films.rglob('*') if path.is_file()}
  index = prepare(films, films, CONFIG, workers=1)
  assert before == {path: path.read_bytes() for path in before}
  assert [path.name for path in (films / '.parts').iterdir()] == ['own.mp4']
  sources = {row.source for split in index.splits.values() for row in split.rows}
  assert sources == {'a.mp4', 'c.mp4', 'image.png', 'inner/b.mp4', 'parts/own.mp4'}
  assert not index.skipped and prepare(films, films, CONFIG, workers=1) == index


def test_shards_that_something_else_began_are_left_alone(films, tmp_path):
  (tmp_path / 'out').mkdir()
  shard = tmp_path / 'out' / 'train-00000-of-00002.array_record'
  shard.touch()
  with pytest.raises(UserError, match='out holds shards of something else, half done; name a new'):
    prepare(films, tmp_path / 'out', CONFIG, workers=1)
  assert shard.is_file()


@pytest.mark.parametrize('space', ['\u3000', '\u00a0', '\u200b'])
def test_a_film_may_have_any_name_that_is_text(films, space):
  (films / 'c.mp4').rename(films / f'a{space}film.mp4')
  files, skipped = walk(films, films / 'out')
  assert f'a{space}film.mp4' in files and not skipped


def test_a_clip_without_a_track_is_kept_when_asked(tmp_path):
  root = tmp_path / 'films'
  root.mkdir()
  clip = make_clip(13)
  silent = Clip(clip.video, clip.audio[:0], clip.fps, clip.sample_rate_hz)
  writer.write(root / 'film.mp4', silent)
  config = dataclasses.replace(CONFIG, keep_silent=True, validation_fraction=0.0)
  index = prepare(root, tmp_path / 'out', config, workers=1)
  assert [(row.frames, row.samples) for row in index.splits['train'].rows] == [(13, 0)]
