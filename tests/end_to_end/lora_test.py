"""Low-rank changes are learned, merged, written and read, every stage through its command line."""

import shutil

import jax
import numpy as np
import pytest
from programs import TINY, run

from sorajax.generate import service
from sorajax.media import reader
from sorajax.train import metrics

pytestmark = pytest.mark.long
RANK = ['--config.lora.rank=4', '--config.lora.targets=(attention/|mlp/|embed/|out/)']


@pytest.fixture(scope='module')
def changed(walk, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('lora') / 'run'
  run(
    'launch/train.py', TINY, f'--config.data.path={walk}/latents', f'--config.start={walk}/run',
    *RANK, '--config.train.steps=120', '--config.train.evaluate_every=60',
    '--config.optimizer.learning_rate=0.01', f'--workdir={workdir}',
  )  # fmt: skip
  return workdir


def held_out(workdir) -> list[float]:
  return [row['loss'] for row in metrics.read(workdir) if row['kind'] == 'held_out']


def test_it_begins_where_the_run_ended_and_learns(walk, changed):
  losses = held_out(changed)
  assert losses[0] == pytest.approx(held_out(walk / 'run')[-1], rel=1e-4)
  assert losses[-1] < 0.97 * losses[0]


def test_matrices_move_and_nothing_else(walk, changed):
  whole, before = service.load(changed).params, service.load(walk / 'run').params
  moved = jax.tree_util.tree_map_with_path(
    lambda path, a, b: (jax.tree_util.keystr(path), bool((np.asarray(a) != b).any())), whole, before
  )
  flat = dict(jax.tree.leaves(moved, is_leaf=lambda x: isinstance(x, tuple)))
  assert sum(flat.values()) > 30
  still = ("bias']", "norm']", "table']")
  assert not any(changed for name, changed in flat.items() if name.endswith(still))


def test_a_file_of_changes_does_what_the_run_does(walk, changed, tmp_path):
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  file = tmp_path / 'changes.safetensors'
  run('launch/lora.py', f'--checkpoint={changed}', f'--out={file}')
  one, other, without = (tmp_path / name for name in ('one', 'other', 'without'))
  asked = ['--prompt=film number 3', '--seconds=1']
  run('launch/sample.py', f'--checkpoint={changed}', f'--out={one}', *asked)
  run('launch/sample.py', f'--checkpoint={walk}/run', f'--lora={file}', f'--out={other}', *asked)
  run('launch/sample.py', f'--checkpoint={walk}/run', f'--out={without}', *asked)
  clips = [reader.read(next(folder.glob('*.mp4'))).video for folder in (one, other, without)]
  apart = [np.abs(clips[0].astype(int) - clip).mean() for clip in clips[1:]]
  assert apart[0] <= 0.1 and apart[1] > 1


def test_8_bits_give_nearly_the_same_clip(changed, tmp_path):
  asked = [f'--checkpoint={changed}', '--prompt=film number 3', '--seconds=1']
  run('launch/sample.py', *asked, f'--out={tmp_path}/whole')
  run('launch/sample.py', *asked, '--weights=int8', f'--out={tmp_path}/rounded')
  names = ('whole', 'rounded')
  one, other = (reader.read(next((tmp_path / name).glob('*.mp4'))).video for name in names)
  apart = np.abs(one.astype(int) - other)
  assert 0 < apart.mean() < 3
  record = next((tmp_path / 'rounded').glob('0*.json'))
  error = run('launch/sample.py', asked[0], f'--again={record}', f'--out={tmp_path}', fails=True)
  assert 'was made with --weights=int8 and not with none; give the same' in error


def test_it_goes_on_from_a_run_on_another_mesh(walk, tmp_path, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=4')
  learned, out = f'{tmp_path}/run', tmp_path / 'out'
  run(
    'launch/train.py', TINY, f'--config.data.path={walk}/latents', f'--config.start={walk}/run',
    *RANK, '--config.mesh.data=1', '--config.mesh.fsdp=4', '--config.train.steps=1',
    '--config.train.evaluate_every=1', f'--workdir={learned}',
  )  # fmt: skip
  assert held_out(tmp_path / 'run')[0] == pytest.approx(held_out(walk / 'run')[-1], rel=1e-4)
  run('launch/sample.py', f'--checkpoint={learned}', f'--out={out}', '--seconds=1')
  assert len(list(out.glob('*.mp4'))) == 1
  monkeypatch.delenv('XLA_FLAGS')
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  file = tmp_path / 'changes.safetensors'
  run('launch/lora.py', f'--checkpoint={learned}', f'--out={file}')  # on one device, no mesh
  assert file.stat().st_size > 1000


def test_what_cannot_be_changed_is_refused(walk, changed, tmp_path):
  data = f'--config.data.path={walk}/latents'
  flags = ('launch/train.py', TINY, data, f'--workdir={tmp_path}/run', *RANK)
  error = run(*flags, fails=True)
  assert 'changes the weights of another run; name it in config.start' in error
  error = run(*flags, f'--config.start={walk}/run', '--config.lora.targets=nowhere', fails=True)
  assert "config.lora.targets 'nowhere' is found in no matrix" in error
  error = run('launch/lora.py', f'--checkpoint={walk}/run', f'--out={tmp_path}/file', fails=True)
  assert 'learned all weights; give a run of a config with lora.rank' in error
  again = [data, f'--config.start={walk}/run', f'--workdir={changed}', '--config.lora.rank=2']
  error = run('launch/train.py', TINY, *again, fails=True)
  assert 'was made with another config.lora' in error


def test_all_weights_go_on_from_a_run_which_is_then_needed_no_more(walk, tmp_path):
  begun, tuned = tmp_path / 'begun', tmp_path / 'tuned'
  shutil.copytree(walk / 'run', begun)
  flags = ['launch/train.py', TINY, f'--config.data.path={walk}/latents', f'--workdir={tuned}']
  run(*flags, f'--config.start={begun}', '--config.train.steps=2')
  assert held_out(tuned)[0] == pytest.approx(held_out(walk / 'run')[-1], rel=1e-4)
  shutil.rmtree(begun)
  run(*flags, f'--config.start={begun}', '--config.train.steps=4')
  rows = metrics.read(tuned)
  assert [row['step'] for row in rows if row['kind'] == 'train'] == [1, 2, 3, 4]
  assert rows[-1]['kind'] == 'held_out' and rows[-1]['step'] == 4
