"""Bad input ends in one line that names the culprit and the cure, and loses nothing."""

import dataclasses
import hashlib
import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from forked import Forked
from programs import ROOT, TINY

from sorajax.media import writer

CONFIG = """import runpy


def get_config():
  c = runpy.run_path({tiny!r})['get_config']()
  {change}
  return c
"""
FILM = {'size': (32, 32), 'fps': 8.0, 'rate_hz': 16_000}

Make = Callable[[Path, Path], None]  # (folder of the walk, folder of the case)


@dataclasses.dataclass(frozen=True)
class Case:
  """A command line and what its one line must say.

  Attributes:
    name: of the kind of input.
    program: of the checkout.
    flags: {walk} stands for the walk, {bad} for the bad files, {here} for a folder of the case.
    says: texts that the line holds: the culprit, the cure.
    make: prepares the folder of the case.
    file_bytes: where files fail to grow beyond this, as on a full disk.
  """

  name: str
  program: str
  flags: tuple[str, ...]
  says: tuple[str, ...]
  make: Make | None = None
  file_bytes: int | None = None


def prepare(name: str, *flags: str, says: tuple[str, ...], **more) -> Case:
  """A case in which no flag but the given ones is wrong; a later flag overrides an earlier."""
  usual = (TINY, '--input={walk}/films', '--output={here}/out', '--workers=1')
  return Case(f'prepare-{name}', 'launch/prepare.py', (*usual, *flags), says, **more)


def encode(name: str, *flags: str, says: tuple[str, ...], **more) -> Case:
  usual = (TINY, '--input={walk}/clips', '--output={here}/out', '--workers=1')
  return Case(f'encode-{name}', 'launch/encode.py', (*usual, *flags), says, **more)


def train(name: str, *flags: str, says: tuple[str, ...], config: str = TINY, **more) -> Case:
  usual = (config, '--config.data.path={walk}/latents', '--workdir={here}/out')
  return Case(f'train-{name}', 'launch/train.py', (*usual, *flags), says, **more)


def convert(name: str, *flags: str, says: tuple[str, ...]) -> Case:
  if not any(flag.startswith('--checkpoint') for flag in flags):  # of which there may be several
    flags = ('--checkpoint={walk}/run', *flags)
  return Case(f'convert-{name}', 'launch/convert.py', ('--out={here}/out', *flags), says)


def sample(name: str, *flags: str, says: tuple[str, ...], **more) -> Case:
  usual = ('--checkpoint={walk}/run', '--out={here}/out')
  return Case(f'sample-{name}', 'launch/sample.py', (*usual, *flags), says, **more)


def tool(name: str, *flags: str, says: tuple[str, ...], **more) -> Case:
  program = name.partition('-')[0]
  return Case(name, f'tools/{program}.py', flags, says, **more)


def copied(kind: str, change: Callable[[Path], object]) -> Make:
  """Copies a folder of the walk into that of the case and does something to the copy."""

  def make(walk: Path, here: Path) -> None:
    shutil.copytree(walk / kind, here / kind)
    change(here / kind)

  return make


def truncated(path: Path) -> None:
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one(folder: Path, pattern: str) -> Path:
  (path,) = folder.glob(pattern)
  return path


def damaged(path: Path) -> None:
  """Overwrites a stretch in which a record lies."""
  content = bytearray(path.read_bytes())
  assert any(content[3000:3200])
  content[3000:3200] = b'\1' * 200
  path.write_bytes(content)


def without_arrays(run: Path) -> None:
  for path in (run / 'checkpoints' / '12' / 'state').rglob('d/*'):
    truncated(path)


def of_other_data(latents: Path) -> None:
  """Another codec, and so other latents."""
  index = json.loads((latents / 'index.json').read_text())
  (latents / 'index.json').write_text(json.dumps({**index, 'identity': 'another'}))
  with np.load(latents / 'codec' / 'codec.npz') as arrays:
    content = {name: arrays[name] for name in arrays.files}
  content['video_mean'] = content['video_mean'] + 1
  np.savez(latents / 'codec' / 'codec.npz', **content)


def run_and_other_latents(walk: Path, here: Path) -> None:
  copied('run', lambda run: None)(walk, here)
  copied('latents', of_other_data)(walk, here)


def without_extend(run: Path) -> None:
  config = json.loads((run / 'config.json').read_text())
  config['train']['tasks']['extend'] = 0.0
  (run / 'config.json').write_text(json.dumps(config))


BROKEN_JSON = lambda name: lambda folder: (folder / name).write_text('{"name": ')

CASES = (
  # Films.
  prepare('truncated', '--input={bad}/truncated', says=('a.mp4 is cut short', 'other films')),
  prepare('empty', '--input={bad}/empty', says=('a.mp4: the file is empty', 'other films')),
  prepare('text', '--input={bad}/text', says=('a.mp4', 'not media')),
  prepare('no-films', '--input={bad}/notes', says=('{bad}/notes holds no film', '*.mp4')),
  prepare('missing', '--input={bad}/nowhere', says=('no input folder {bad}/nowhere', 'name one')),
  prepare('file', '--input={bad}/file', says=('no input folder {bad}/file', 'name one')),
  prepare('silent', '--input={bad}/silent', says=('no_sound', 'loosen config.prepare')),
  prepare('short', '--input={bad}/short', says=('1 too_short', 'loosen config.prepare')),
  prepare('below-a-file', '--output=/dev/null/x', says=('/dev/null/x', 'name another folder')),
  prepare('onto-a-file', '--output={bad}/file', says=('{bad}/file', 'name another folder')),
  prepare('full-disk', says=('no space left', '{here}/out/.parts', 'run again'), file_bytes=3000),
  prepare(
    'other-settings', '--output={walk}/clips', '--config.prepare.fps=4',
    says=('{walk}/clips', 'fps=8.0, not 4.0', 'a new folder'),
  ),
  prepare(
    'other-films', '--output={walk}/clips', '--input={bad}/short',
    says=('{walk}/clips', 'films or captions have changed', 'a new folder'),
  ),
  prepare(
    'broken-index', '--output={here}/clips', says=('{here}/clips/index.json', 'prepare'),
    make=copied('clips', BROKEN_JSON('index.json')),
  ),
  prepare('runner', '--runner=NoSuchRunner', says=('Beam',)),
  prepare('no-workers', '--workers=0', says=('--workers=0', 'positive')),
  prepare('channels', '--config.prepare.audio_channels=3', says=('audio_channels is 3', '1 or 2')),
  prepare('height', '--config.prepare.height=0', says=('config.prepare', 'height', 'above 0')),
  prepare('rate', '--config.prepare.fps=nan', says=('config.prepare', 'fps', 'above 0')),
  # Flags and config files.
  prepare('flag', '--inputs={walk}/films', says=("'inputs'", 'Did you mean: input')),
  prepare('argument', 'stray', says=("'stray'", '--name=value')),
  Case(
    'prepare-no-output', 'launch/prepare.py', (TINY, '--input={walk}/films'),
    ('--output', 'must have a value'),
  ),
  Case(
    'evaluate-kind', 'launch/evaluate.py',
    ('--checkpoint={walk}/run', '--out={here}/out', '--kinds=roms'), ("'roms'", 'first frames'),
  ),
  Case('sample-no-checkpoint', 'launch/sample.py', ('--out={here}/out',), ('--checkpoint', 'must')),
  sample(
    'keyframe', '--keyframe={walk}/films/film2.mp4', says=('--keyframe=', 'is not IMAGE@SECONDS')
  ),
  sample(
    'keyframes', '--keyframe={walk}/films/film2.mp4@0.5',
    says=("has not learned the task 'keyframes'", 'it knows audio_to_video, extend'),
  ),
  sample(
    'refine', '--refine_lora={bad}/x.safetensors', says=('--refine_', 'add --upsampler=PATH')
  ),
  prepare('no-config', '--config={bad}/no.py', says=('{bad}/no.py', 'configs/film.py')),
  prepare('config-folder', '--config={bad}', says=('{bad}', 'configs/film.py')),
  prepare('empty-config', '--config=', says=("''", 'configs/film.py')),
  prepare('syntax', '--config={bad}/syntax.py', says=('{bad}/syntax.py', 'SyntaxError', 'mend')),
  prepare('raises', '--config={bad}/raises.py', says=('{bad}/raises.py', "'abc'", 'mend')),
  prepare('no-function', '--config={bad}/constant.py', says=('{bad}/constant.py', 'get_config()')),
  prepare('none', '--config={bad}/none.py', says=('{bad}/none.py', 'ConfigDict')),
  train('key', '--config.train.stepz=3', says=('--config.train.stepz', 'did you mean steps?')),
  train('type', '--config.train.steps=abc', says=('--config.train.steps=abc', 'int')),
  train('section', '--config.train=5', says=('--config.train=5', 'dict')),
  train('file-key', config='--config={bad}/key.py', says=("'stepz'", 'did you mean steps?')),
  train('file-type', config='--config={bad}/type.py', says=('config.train.seed', 'int')),
  train('solver', config='--config={bad}/solver.py', says=("solver is 'rk'", "'heun'")),
  train('text', '--config.text.kind=t5', says=("config.text.kind is 't5'", "'words', 'minilm'")),
  train('text-width', '--config.text.kind=minilm', says=('text_width is 32', '384', 'equal')),
  train('channels', '--config.transformer.streams.video.channels=7', says=('16', '7', 'encode')),
  train('weight', '--config.train.tasks.extend=-1.0', says=('extend is -1.0', 'not negative')),
  train('task', config='--config={bad}/task.py', says=("'fly'", 'text_to_clip')),
  train(
    'keyframes', '--config.train.tasks.keyframes=1.0',
    says=('{walk}/latents has no frames coded alone', 'encode it again with --keyframes=4'),
  ),
  train('mesh', '--config.mesh.fsdp=3', says=('fsdp=3', 'a multiple of 3', 'that divide 1')),
  train('no-mesh', '--config.mesh.fsdp=0', says=('config.mesh', 'positive')),
  train('micro', config='--config={bad}/micro.py', says=('4 rows', '3 micro-batches', 'try 6')),
  train('no-micro', config='--config={bad}/no_micro.py', says=('micro_batches is 0', '1 or more')),
  train('unroll', config='--config={bad}/unroll.py', says=('unroll 5', 'layers 2', 'try 1')),
  train('bucket', '--config.data.buckets.clip.video=2', says=('fits a bucket', 'enlarge one')),
  train('rows', '--config.data.buckets.clip.rows=0', says=('buckets.clip', 'rows', 'above 0')),
  train('save', '--config.train.save_every=0', says=('save_every is 0', '1 or more')),
  # Clips and latents.
  encode('films', '--input={walk}/films', says=('{walk}/films', 'launch/prepare.py')),
  encode('latents', '--input={walk}/latents', says=('{walk}/latents holds latents', 'of clips')),
  encode('missing', '--input={bad}/nowhere', says=('{bad}/nowhere', 'prepare one')),
  encode(
    'no-shard', '--input={here}/clips', says=('{here}/clips has lost its shard train', 'again'),
    make=copied('clips', lambda clips: one(clips, 'train*').unlink()),
  ),
  encode(
    'cut-shard', '--input={here}/clips', says=('{here}/clips has a damaged shard', 'again'),
    make=copied('clips', lambda clips: truncated(one(clips, 'train*'))),
  ),
  encode('no-codec', '--codec={bad}/nowhere', says=('{bad}/nowhere holds no codec', 'encode.py')),
  encode(
    'other-channels', '--config.trained=film',
    says=('48 channels', 'the transformer reads 16', 'config.codec.video_channels'),
  ),
  encode('stride', '--config.codec.stride=(2,7,7)', says=('16×16', '7×7', 'try 21×21')),
  encode('codec', '--config.codec.video_channels=999', says=('config.codec', '999', '384')),
  encode('group', '--config.codec.group=0', says=('config.codec', 'group', 'above 0')),
  encode('below-a-file', '--output=/dev/null/x', says=('/dev/null/x', 'another folder')),
  encode(
    'full-disk', says=('no space left', '{here}/out/codec/codec.npz', 'run again'), file_bytes=3000
  ),
  encode(
    'other-clips', '--output={here}/latents', '--codec={walk}/latents/codec',
    says=('{here}/latents', 'another codec', 'another output'),
    make=copied('latents', of_other_data),
  ),
  train('clips', '--config.data.path={walk}/clips', says=('{walk}/clips', 'launch/encode.py')),
  train('nothing', '--config.data.path=', says=('is empty', '--config.data.path=LATENTS')),
  train('missing', '--config.data.path={bad}/nowhere', says=('{bad}/nowhere', 'prepare one')),
  train(
    'no-shard', '--config.data.path={here}/latents', says=('lost its shard train', 'again'),
    make=copied('latents', lambda latents: one(latents, 'train*').unlink()),
  ),
  train(
    'damaged', '--config.data.path={here}/latents', says=('{here}/latents', 'is damaged', 'again'),
    make=copied('latents', lambda latents: damaged(one(latents, 'validation*'))),
  ),
  # Runs.
  train('below-a-file', '--workdir=/dev/null/x', says=('/dev/null/x', 'another folder')),
  train('onto-a-file', '--workdir={bad}/file', says=('{bad}/file', 'another folder')),
  train('full-disk', says=('no space left', 'config.json', 'run again'), file_bytes=1000),
  train(
    'full-disk-at-a-checkpoint', '--config.train.steps=0', '--config.train.evaluate_every=0',
    says=('no space left', '{here}/out/checkpoints', 'run again'), file_bytes=60_000,
  ),
  train(
    'other-data', '--workdir={here}/run', '--config.data.path={here}/latents',
    says=('the data are not those', 'a new --workdir'), make=run_and_other_latents,
  ),
  train(
    'other-model', '--workdir={here}/run', '--config.transformer.layers=4',
    says=('{here}/run', 'another config.transformer.layers', 'start anew'),
    make=copied('run', lambda run: None),
  ),
  train(
    'other-optimizer', '--workdir={here}/run', '--config.optimizer.matrix_rate=0.02',
    says=('{here}/run/checkpoints/12', 'another optimizer', '--config.start={here}/run'),
    make=copied('run', lambda run: None),
  ),
  train(
    'broken-config', '--workdir={here}/run', says=('{here}/run/config.json', 'delete it'),
    make=copied('run', BROKEN_JSON('config.json')),
  ),
  train(
    'broken-checkpoint', '--workdir={here}/run', says=('{here}/run/checkpoints/12', 'delete it'),
    make=copied('run', without_arrays),
  ),
  sample('nowhere', '--checkpoint={bad}/nowhere', says=('no run at {bad}/nowhere', '--workdir')),
  sample('step', '--checkpoint={walk}/run/checkpoints/9', says=('step 9', '[8, 12]')),
  sample(
    'no-checkpoints', '--checkpoint={here}/run', says=('{here}/run/checkpoints', 'train first'),
    make=copied('run', lambda run: shutil.rmtree(run / 'checkpoints')),
  ),
  sample(
    'broken-checkpoint', '--checkpoint={here}/run',
    says=('{here}/run/checkpoints/12', 'the one before'), make=copied('run', without_arrays),
  ),
  sample(
    'half-a-checkpoint', '--checkpoint={here}/run',
    says=('{here}/run/checkpoints/12', 'the one before'),
    make=copied('run', lambda run: shutil.rmtree(run / 'checkpoints' / '12' / 'state')),
  ),
  sample(
    'broken-config', '--checkpoint={here}/run', says=('{here}/run/config.json', 'delete it'),
    make=copied('run', BROKEN_JSON('config.json')),
  ),
  sample(
    'no-codec', '--checkpoint={here}/run', says=('{here}/run/codec holds no codec', 'encode.py'),
    make=copied('run', lambda run: shutil.rmtree(run / 'codec')),
  ),
  sample(
    'broken-codec', '--checkpoint={here}/run', says=('{here}/run/codec', 'encode again'),
    make=copied('run', lambda run: truncated(run / 'codec' / 'codec.npz')),
  ),
  sample('other-config', '--config=configs/film.py', says=('{walk}/run', 'use its config')),
  # Requests.
  sample('no-prompts', '--prompts={bad}/nowhere', says=('no file {bad}/nowhere', 'a line')),
  sample('empty-prompts', '--prompts={bad}/empty.txt', says=('{bad}/empty.txt', 'one a line')),
  sample('latin-prompts', '--prompts={bad}/latin.txt', says=('{bad}/latin.txt', 'save it as')),
  sample('huge-prompt', '--prompts={bad}/huge.txt', says=('20000 characters', 'at most 10000')),
  sample('seed', '--seed=-1', says=('seed -1', '0 to 4294967295')),
  sample('huge-seed', '--seed=4294967296', says=('seed 4294967296', '0 to 4294967295')),
  sample('last-seed', '--seed=4294967295', '--count=2', says=('seed 4294967296', '0 to')),
  sample('count', '--count=0', says=('--count=0', '1 or more')),
  sample('batch', '--batch=0', says=('--batch=0', '1 or more')),
  sample('no-seconds', '--seconds=0', says=('0.0 s', 'at least one frame')),
  sample('nan-seconds', '--seconds=nan', says=('nan s', 'at least one frame')),
  sample('huge-seconds', '--seconds=1e9', says=('1000000000.0 s', 'shorter')),
  sample('word-seconds', '--seconds=long', says=('--seconds=long is no number', 'auto')),
  sample('auto-seconds', '--seconds=auto', says=('run has no duration_head', 'as a number')),
  sample('no-fps', '--fps=0', says=('0.0 frames/s', 'at most 240')),
  sample('huge-fps', '--fps=1000', says=('1000.0 frames/s', 'at most 240')),
  sample('odd-size', '--size=15x16', says=('15×16', '8×8', 'try 16×16')),
  sample('undivided-size', '--size=20x20', says=('20×20', '8×8', 'try 24×24')),
  sample('no-size', '--size=abc', says=('--size=abc', '--size=64x96')),
  sample('zero-size', '--size=0x16', says=('--size=0x16', '--size=64x96')),
  sample('digit-size', '--size=²x16', says=('--size=²x16', '--size=64x96')),
  sample('task', '--task=fly', says=("'fly'", 'image_to_clip')),
  sample(
    'untrained-task', '--checkpoint={here}/run', '--task=extend', '--input={walk}/films/film0.mp4',
    says=("'extend'", 'image_to_clip'), make=copied('run', without_extend),
  ),
  sample('no-input', '--task=video_to_audio', says=('video_to_audio', '--input=FILE')),
  sample(
    'missing-input', '--task=extend', '--input={bad}/no.mp4', says=('{bad}/no.mp4', 'No such file')
  ),
  sample('folder-input', '--task=extend', '--input={bad}', says=('{bad}', 'a file inside')),
  sample(
    'cut-input', '--task=extend', '--input={bad}/truncated/a.mp4', '--seconds=60',
    says=('{bad}/truncated/a.mp4 is cut short', 'fetch it again'),
  ),
  sample(
    'no-sound', '--task=audio_to_video', '--input={bad}/silent/a.mp4',
    says=('{bad}/silent/a.mp4 has no sound', 'give a film'),
  ),
  sample(
    'empty-sound', '--task=audio_to_video', '--input={bad}/empty.wav',
    says=('{bad}/empty.wav has no sound', 'give a film'),
  ),
  sample(
    'no-picture', '--task=video_to_audio', '--input={bad}/empty.wav',
    says=('{bad}/empty.wav has no picture', 'give a film'),
  ),
  sample(
    'extend-too-short', '--task=extend', '--input={bad}/short/a.mp4', '--given_seconds=0.7',
    says=('0.7 s are to be given', '0.38 s'),
  ),
  sample(
    'extend-nothing', '--task=extend', '--input={walk}/films/film0.mp4', '--given_seconds=2',
    says=('2.0 s of a clip of 1.0 s', '--seconds'),
  ),
  sample('no-record', '--again={bad}/no.json', says=('{bad}/no.json', 'beside a sampled clip')),
  sample('list-record', '--again={bad}/list.json', says=('{bad}/list.json', 'beside one')),
  sample('other-record', '--again={bad}/other.json', says=('{bad}/other.json', 'beside one')),
  sample('film-record', '--again={walk}/films/film0.mp4', says=('film0.mp4', 'beside one')),
  sample('step-record', '--again={bad}/step.json', says=('of step 8', 'checkpoints/8')),
  sample('config-record', '--again={bad}/config.json', says=('another config.sample.steps',)),
  sample('weights-record', '--again={bad}/weights.json', says=('other weights', 'of elsewhere')),
  sample('record-and-more', '--again={bad}/step.json', '--seed=3', says=('leave out --seed',)),
  sample(
    'unused-input', '--input={walk}/films/film0.mp4',
    says=('text_to_clip takes nothing of', '--task=image_to_clip'),
  ),
  sample(
    'less-than-a-latent', '--task=extend', '--input={walk}/films/film0.mp4',
    '--given_seconds=0.001', says=('0.001 s of', 'less than one latent'),
  ),
  sample('given-of-nothing', '--given_seconds=1', says=('--given_seconds is of extend',)),
  sample('strength-of-nothing', '--strength=0.5', says=('--strength is of remix',)),
  sample('remix-of-nothing', '--task=remix', says=('the task remix needs', '--input=FILE')),
  sample(
    'remix-of-all', '--task=remix', '--input={walk}/films/film0.mp4', '--strength=1',
    says=('strength 1.0 of a remix', 'less than 1'),
  ),
  sample('hold-of-nothing', '--hold=0.5', says=('given nothing that could be held',)),
  sample(
    'hold-of-no-share', '--task=image_to_clip', '--input={walk}/films/film0.mp4', '--hold=0',
    says=('hold 0.0 of what is given', 'more than 0'),
  ),
  sample('drawing-of-nothing', '--reference_as=edges', says=('add --reference=FILE',)),
  sample('below-a-file', '--out=/dev/null/x', says=('/dev/null/x', 'another folder')),
  # Tools.
  tool(
    'make_flashes-below-a-file', '--config=configs/flash.py', '--out=/dev/null/x',
    says=('/dev/null/x', 'another folder'),
  ),
  tool(
    'make_flashes-onto-clips', '--config=configs/flash.py', '--out={walk}/clips',
    says=('{walk}/clips holds another data set', 'a new folder'),
  ),
  tool(
    'make_flashes-short', '--config=configs/flash.py', '--config.prepare.frames=(2,)',
    '--out={here}/out', says=('(2,)', '4 frames or more'),
  ),
  tool(
    'make_flashes-full-disk', '--config=configs/flash.py', '--count=10', '--out={here}/out',
    says=('no space left', '{here}/out', 'run again'), file_bytes=3000,
  ),
  tool(
    'make_worlds-onto-clips', '--config=configs/worlds.py', '--out={walk}/clips',
    says=('{walk}/clips holds another data set', 'a new folder'),
  ),
  tool('measure_sync-nowhere', '--checkpoint={bad}/nowhere', says=('{bad}/nowhere', '--workdir')),
  tool(
    'measure_overfit-latents', '--checkpoint={walk}/run', '--clips={walk}/latents',
    says=('{walk}/latents holds latents', 'of clips'),
  ),
  convert('nowhere', '--checkpoint={bad}/nowhere', says=('no run at {bad}/nowhere', '--workdir')),
  convert('other-network', says=('{walk}/run has flow.preconditioned', 'configs/ltx2.py')),
  convert('no-version', '--checkpoint={bad}/file', says=('add the --version of {bad}/file',)),
  convert(
    'a-folder-among-files', '--checkpoint={bad}/file', '--checkpoint={walk}/run',
    says=('{walk}/run is no file', 'several files of a release'),
  ),
  convert('version-of-a-run', '--version=2.0', says=('--version has no place', 'leave it')),
  convert('layout', '--layout=double', says=('--layout=double', 'single')),
  tool('fetch_film-below-a-file', '--out=/dev/null/x', says=('/dev/null/x', 'name another')),
  tool('demo-below-a-file', '--out=/dev/null/x', says=('/dev/null/x', 'choose another folder')),
  tool('demo-steps', '--steps=abc', says=('--steps=abc', 'int')),
)  # fmt: skip


@pytest.fixture(scope='module')
def program(tmp_path_factory):
  forked = Forked(tmp_path_factory.mktemp('forked'))
  yield forked
  forked.close()


@pytest.fixture(scope='module')
def bad(walk, tmp_path_factory) -> Path:
  """A folder of files that are wrong, each in its own way."""
  folder = tmp_path_factory.mktemp('bad')
  for name in ('truncated', 'empty', 'text', 'notes', 'silent', 'short'):
    (folder / name).mkdir()
  shutil.copy(walk / 'films' / 'film0.mp4', folder / 'truncated' / 'a.mp4')
  truncated(folder / 'truncated' / 'a.mp4')
  (folder / 'empty' / 'a.mp4').touch()
  (folder / 'text' / 'a.mp4').write_text('this is no film\n' * 200)
  (folder / 'notes' / 'a.doc').write_text('neither is this')
  writer.write(folder / 'silent' / 'a.mp4', make_clip(28, channels=0, **FILM))
  writer.write(folder / 'short' / 'a.mp4', make_clip(3, **FILM))
  with wave.open(str(folder / 'empty.wav'), 'wb') as sound:
    sound.setnchannels(1)
    sound.setsampwidth(2)
    sound.setframerate(8000)
  for name, change in {
    'key': 'c.train.update(stepz=3)',
    'type': "c.train.seed = 'one'",
    'solver': "c.sample.solver = 'rk'",
    'task': 'c.train.tasks.fly = 1.0',
    'micro': 'c.train.micro_batches = 3',
    'no_micro': 'c.train.micro_batches = 0',
    'unroll': 'c.transformer.unroll = 5',
    'raises': "int('abc')",
    'none': 'c = None',
  }.items():
    text = CONFIG.format(tiny=str(ROOT / 'configs' / 'tiny.py'), change=change)
    (folder / f'{name}.py').write_text(text)
  (folder / 'syntax.py').write_text('def get_config(:\n')
  (folder / 'constant.py').write_text('x = 1\n')
  (folder / 'file').touch()
  (folder / 'empty.txt').touch()
  (folder / 'latin.txt').write_bytes('café\n'.encode('latin-1'))
  (folder / 'huge.txt').write_text('a' * 20_000)
  (folder / 'list.json').write_text('[1]')
  (folder / 'other.json').write_text('{"caption": "a"}')
  request = {'prompt': '', 'seed': 0, 'seconds': 1.0, 'fps': 8.0, 'height': 16, 'width': 16}
  record = {'request': request, 'batch': 1, 'row': 0, 'checkpoint_step': 8}
  (folder / 'step.json').write_text(json.dumps(record))
  (folder / 'config.json').write_text(
    json.dumps({**record, 'checkpoint_step': 12, 'config': {'sample': {'steps': 5}}})
  )
  other = {'checkpoint_step': 12, 'weights': '0123', 'checkpoint': 'elsewhere'}
  (folder / 'weights.json').write_text(json.dumps({**record, **other}))
  return folder


def content(*folders: Path) -> dict[Path, str]:
  """The hash of every file."""
  files = [path for folder in folders for path in folder.rglob('*') if path.is_file()]
  return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_bad_input_ends_in_one_line_and_loses_nothing(case, walk, bad, program, tmp_path):
  if case.make is not None:
    case.make(walk, tmp_path)
  fill = lambda text: text.replace('{walk}', str(walk)).replace('{bad}', str(bad)).replace(
    '{here}', str(tmp_path)
  )  # fmt: skip
  before = content(walk, bad, tmp_path)

  ended = program(case.program, *map(fill, case.flags), file_bytes=case.file_bytes)

  lines = ended.err.strip().splitlines()
  assert ended.status > 0 and 'Traceback' not in ended.err, ended.err[-3000:]
  assert [line for line in lines if line.startswith('error: ')] == lines[-1:], ended.err[-3000:]
  for text in case.says:
    assert fill(text) in lines[-1]
  after = content(walk, bad, tmp_path)
  assert {path: after.get(path) for path in before} == before
  assert not [path for path in after if path.suffix == '.tmp']


def test_there_are_many_kinds_of_bad_input():
  names = [case.name for case in CASES]
  assert len(set(names)) == len(names) >= 45
  assert f'| {len(names)} kinds' in (ROOT / 'README.md').read_text()
