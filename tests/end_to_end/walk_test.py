"""The walk on generated films, every stage through its command line."""

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import ROOT, TINY, environment, run

from sorajax.data.latents import open_latents
from sorajax.generate import service
from sorajax.generate.request import Request
from sorajax.generate.sampler import Sampler
from sorajax.media import reader
from sorajax.train import goodput
from sorajax.train.metrics import read


def metrics(run_folder: Path) -> list[dict]:
  return [json.loads(line) for line in (run_folder / 'metrics.jsonl').read_text().splitlines()]


def test_training_leaves_curves_checkpoints_and_losses(walk):
  lines = metrics(walk / 'run')
  assert [line['step'] for line in lines if line['kind'] == 'train'] == list(range(1, 13))
  assert [line['step'] for line in lines if line['kind'] == 'held_out'] == [0, 6, 12]
  assert (walk / 'run' / 'curves.png').stat().st_size > 5_000
  assert sorted(p.name for p in (walk / 'run' / 'checkpoints').iterdir()) == ['12', '8']


def test_resumed_run_equals_one_never_stopped_bit_for_bit(walk, tmp_path):
  flags = [TINY, f'--config.data.path={walk}/latents', f'--workdir={tmp_path}/run']
  whole = metrics(walk / 'run')
  (tmp_path / 'run').mkdir()
  program = (
    'import os, runpy, sys\n'
    'from sorajax.train import state\n'
    'made = state.make_step\n'
    'def make_step(*args):\n'
    '  step = made(*args)\n'
    '  def dying(now, frozen, batch):\n'
    '    if int(now["step"]) == 9: os.kill(os.getpid(), 9)\n'
    '    return step(now, frozen, batch)\n'
    '  return dying\n'
    'from sorajax.train import loop\n'
    'loop.make_step = make_step\n'
    'sys.argv = ["launch/train.py", *sys.argv[1:]]\n'
    'runpy.run_path("launch/train.py", run_name="__main__")\n'
  )
  command = [sys.executable, '-c', program, *flags]
  killed = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True)
  assert killed.returncode == -9
  run('launch/train.py', *flags)
  assert metrics(tmp_path / 'run') == whole
  spent = goodput.shares(read(tmp_path / 'run', goodput.FILE))  # step 9 was done twice
  assert sum(spent.values()) == pytest.approx(1) and spent['steps'] > 0 < spent['lost']


def test_sampled_clips_have_exact_size_and_can_be_made_again(walk, tmp_path):
  asked = [
    f'--checkpoint={walk}/run', '--prompt=one', '--prompt=two', '--prompt=three', '--seconds=0.75',
    '--batch=1', f'--out={tmp_path}/a',
  ]  # fmt: skip
  run('launch/sample.py', *asked)
  films = sorted((tmp_path / 'a').glob('*.mp4'))
  assert len(films) == 3
  for film in films:
    clip = reader.read(film)
    assert clip.video.shape == (6, 16, 16, 3) and len(clip.audio) == 6000
    assert film.with_suffix('.png').is_file() and film.with_suffix('.json').is_file()
  record = films[1].with_suffix('.json')
  run('launch/sample.py', f'--checkpoint={walk}/run', f'--again={record}', f'--out={tmp_path}/b')
  (again,) = (tmp_path / 'b').glob('*.mp4')
  assert again.read_bytes() == films[1].read_bytes()
  begun = {film: film.stat().st_mtime_ns for film in films}
  record.unlink()  # as if it had been killed meanwhile
  run('launch/sample.py', *asked)
  assert [film for film in films if film.stat().st_mtime_ns != begun[film]] == [films[1]]
  assert films[1].read_bytes() == again.read_bytes() and (tmp_path / 'a' / 'index.png').is_file()


@pytest.mark.parametrize(
  'task', ['image_to_clip', 'extend', 'video_to_audio', 'audio_to_video', 'remix']
)
def test_each_task_samples_from_a_file(walk, tmp_path, task):
  film = walk / 'films' / 'film0.mp4'
  flags = [f'--checkpoint={walk}/run', f'--out={tmp_path}', f'--task={task}', f'--input={film}']
  run('launch/sample.py', *flags)
  (made,) = tmp_path.glob('*.mp4')
  clip = reader.read(made)
  assert clip.video.shape[0] == 8 and len(clip.audio) == 8000


def test_latents_are_those_of_the_codec(walk):
  source = open_latents(walk / 'latents', 'train')
  latents, caption = source[0]
  assert caption.startswith('film number')
  clip = source.codec.decode(latents)
  assert len(clip.video) == latents.frames and np.isfinite(clip.audio).all()


def test_untrained_task_and_missing_checkpoint_are_refused_by_name(walk, tmp_path):
  error = run(
    'launch/sample.py', f'--checkpoint={walk}/run', f'--out={tmp_path}', '--task=fly', fails=True
  )
  assert error.strip().splitlines()[-1].startswith('error: ') and 'image_to_clip' in error
  error = run('launch/sample.py', f'--checkpoint={tmp_path}', f'--out={tmp_path}', fails=True)
  assert 'no run at' in error


def test_a_shipped_run_is_the_run_rounded_to_11_bits(walk, tmp_path):
  run('tools/ship_run.py', f'--checkpoint={walk}/run', f'--out={tmp_path}/shipped')
  assert str(walk) not in (tmp_path / 'shipped' / 'config.json').read_text()
  whole, shipped = service.load(walk / 'run'), service.load(tmp_path / 'shipped')
  assert shipped.step == whole.step == 12
  near = functools.partial(np.testing.assert_allclose, rtol=2.0**-11, atol=2.0**-24)
  jax.tree.map(near, shipped.params, whole.params)
  assert shipped.codec.geometry == whole.codec.geometry


@pytest.mark.long
def test_training_goes_on_from_the_weights_of_a_run(walk, tmp_path):
  flags = [TINY, f'--config.data.path={walk}/latents', f'--config.start={walk}/run']
  still = ['--config.train.steps=1', '--config.optimizer.learning_rate=0.0']
  run('launch/train.py', *flags, *still, f'--workdir={tmp_path}/run')
  first, then = service.load(walk / 'run'), service.load(tmp_path / 'run')
  assert (first.step, then.step) == (12, 1)
  # The average of two equal numbers may be rounded.
  near = functools.partial(np.testing.assert_allclose, rtol=1e-6)
  jax.tree.map(near, then.params, first.params)
  other = [*flags, '--config.transformer.layers=1', f'--workdir={tmp_path}/other']
  error = run('launch/train.py', *other, fails=True)
  assert 'was made with another config.transformer.layers' in error.strip().splitlines()[-1]


@pytest.mark.long
def test_each_kind_of_guidance_changes_the_clip(walk):
  model = service.load(walk / 'run')
  both = lambda scale: {'video': scale, 'audio': scale}
  kinds = {
    'none': {'guidance': both(1.0)},
    'prompt': {'guidance': both(3.0)},
    'modality': {'guidance': both(1.0), 'modality_guidance': both(3.0)},
    'skip': {'guidance': both(1.0), 'skip_guidance': both(1.0), 'skip_layers': (1,)},
  }
  made = {}
  request = Request('film number 3', 0, 1.0, 8.0, 16, 16)
  for name, kind in kinds.items():
    sample = dataclasses.replace(model.settings.sample, **kind)
    settings = dataclasses.replace(model.settings, sample=sample)
    sampler = Sampler(settings, model.network, model.codec)
    with jax.set_mesh(model.mesh):
      (one,) = sampler(model.params, [request])
    made[name] = one.clip
  for m in ('video', 'audio'):
    for a, b in itertools.combinations(made.values(), 2):
      assert (getattr(a, m) != getattr(b, m)).any()
