"""What runs learned, written as diffusers has it: whole or not at all, and the same numbers."""

import dataclasses
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import tiny
from programs import ROOT, environment, run
from released import SMALL, VERSIONS
from tiny import refused

from sorajax import checkpoint
from sorajax.checkpoint import Checkpoints
from sorajax.generate import export
from sorajax.model import lora
from sorajax.model.lora import LoraConfig
from sorajax.text.small import SmallEncoder
from sorajax.weights import ltx2_transformer, stored
from sorajax.weights.shards import Shards
from sorajax.weights.stored import Part

pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
SAVED = {**VERSIONS['2.3'], **SMALL}
CONFIG = ltx2_transformer.config_of(SAVED)
LORA = LoraConfig(2, 4.0)
SHAPES = ltx2_transformer.shapes(CONFIG)


def drawn(seed: int, dtype=np.float32):
  """Weights of the transformer."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(dtype), SHAPES)


def make_run(workdir: Path, ema: dict, start: str = '', rank: int = 0) -> Path:
  """The folder of a run of this transformer that ended with these averaged weights."""
  c = runpy.run_path(str(ROOT / 'configs/tiny.py'))['get_config']()
  c.transformer = dataclasses.asdict(CONFIG)
  c.codec.update(video_channels=3, audio_channels=2)
  c.text.width = CONFIG.text_width
  c.flow.preconditioned = False
  c.start = start
  c.lora.update(rank=rank, alpha=LORA.alpha, targets=LORA.targets)
  workdir.mkdir()
  checkpoint.write_config(workdir, json.loads(c.to_json()))
  saved = Checkpoints(workdir / 'checkpoints', keep=1)
  other = jax.tree.map(np.zeros_like, ema)
  saved.save(7, {'params': other, 'ema': ema}, {})
  saved.close()
  return workdir


def whole(seed: int, dtype=np.float32) -> dict:
  """The averaged weights of a run that trained them all."""
  encoder = SmallEncoder(CONFIG.text_width, 1, 16, 'bytes')
  text = tiny.noisy(lambda: encoder.initial_params(jax.random.key(0)))
  return {'transformer': drawn(seed, dtype), 'text': text}


def make_model(folder: Path, dtype=ml_dtypes.bfloat16) -> Path:
  """A model as diffusers saves it, of which nothing but the transformer is read here."""
  made = ltx2_transformer.stored_of(CONFIG, drawn(1, dtype))
  stored.write_folder(folder / 'transformer', Part(SAVED, made), 3000)
  for name in ('vae/a.bin', 'vae/deep/b.bin', '.cache/c', 'model_index.json'):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(name)
  return folder


def bytes_of(arrays) -> dict[str, tuple]:
  return {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


def tensors_in(folder: Path) -> dict[str, tuple]:
  return bytes_of(Shards(folder / 'transformer'))


def tensors_of(params) -> dict[str, tuple]:
  return bytes_of(ltx2_transformer.saved_of(CONFIG, params))


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_a_run_that_trained_all_weights_is_written(tmp_path, dtype):
  workdir = make_run(tmp_path / 'run', whole(2, dtype))
  assert not export.write(export.read(workdir), tmp_path / 'out', shard_bytes=2000)
  assert tensors_in(tmp_path / 'out') == tensors_of(drawn(2, dtype))
  saved = Shards(tmp_path / 'out' / 'transformer').config()
  assert ltx2_transformer.config_of(saved) == CONFIG


def test_low_rank_changes_of_changes_of_a_model_are_added(tmp_path):
  model = make_model(tmp_path / 'model')
  one, two = (
    tiny.noisy(lambda: lora.init(LORA, SHAPES, jax.random.key(0)), size) for size in (0.2, 0.3)
  )
  first = make_run(tmp_path / 'first', {'lora': one}, start=str(model), rank=LORA.rank)
  second = make_run(tmp_path / 'second', {'lora': two}, start=str(first), rank=LORA.rank)
  exported = export.read(f'{second}/checkpoints/7')
  assert exported.origin == model and exported.part.config == SAVED
  assert export.write(exported, tmp_path / 'out')
  as_type = lambda params, dtype: jax.tree.map(lambda a: a.astype(dtype), params)
  params = drawn(1, ml_dtypes.bfloat16)
  for changes in (one, two):  # added in float32 and rounded once
    added = lora.merged(as_type(params, np.float32), changes, 2.0)
    params = as_type(added, ml_dtypes.bfloat16)
  wanted = ltx2_transformer.saved_of(CONFIG, params)
  made = Shards(tmp_path / 'out' / 'transformer')
  assert sorted(made) == sorted(wanted)
  for name, value in wanted.items():
    a, b = (x.astype(np.float32) for x in (made[name], value))
    np.testing.assert_allclose(a, b, rtol=2**-7, atol=1e-6)


def test_a_model_is_written_with_all_its_parts(tmp_path):
  model = make_model(tmp_path / 'model')
  assert export.write(export.read(model), tmp_path / 'out')
  assert tensors_in(tmp_path / 'out') == tensors_in(model)
  out = tmp_path / 'out'
  made = {str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()}
  assert {'vae/a.bin', 'vae/deep/b.bin', 'model_index.json', 'transformer/config.json'} < made
  assert '.cache/c' not in made
  assert (tmp_path / 'out' / 'vae/deep/b.bin').read_text() == 'vae/deep/b.bin'


def test_parts_on_another_disk_are_copied(tmp_path, monkeypatch):
  def far(*_):
    raise OSError(18, 'Invalid cross-device link')

  monkeypatch.setattr(os, 'link', far)
  model = make_model(tmp_path / 'model')
  export.write(export.read(model), tmp_path / 'out')
  shutil.rmtree(model)
  assert (tmp_path / 'out' / 'vae/a.bin').read_text() == 'vae/a.bin'


def test_a_type_may_be_asked_for(tmp_path):
  workdir = make_run(tmp_path / 'run', whole(2))
  export.write(export.as_type(export.read(workdir), 'bfloat16'), tmp_path / 'out')
  half = jax.tree.map(lambda a: a.astype(ml_dtypes.bfloat16), drawn(2))
  assert tensors_in(tmp_path / 'out') == tensors_of(half)


def test_what_cannot_be_written_is_refused(tmp_path):
  model = make_model(tmp_path / 'model')
  with refused(f'{model} is there already; delete it or choose another name'):
    export.write(export.read(model), model)
  residual = make_run(tmp_path / 'run', whole(2))
  config = json.loads((residual / 'config.json').read_text())
  config['flow']['preconditioned'] = True
  (residual / 'config.json').write_text(json.dumps(config))
  with refused('has flow.preconditioned and its transformer does not give v itself'):
    export.read(residual)
  with refused(f'no run at {tmp_path}/nowhere: it has no config.json'):
    export.read(tmp_path / 'nowhere')
  shard = sorted((model / 'transformer').glob('*.safetensors'))[1]
  shard.unlink()
  with refused(f'transformer lacks {shard.name}; download the checkpoint again'):
    export.read(model)


def test_a_part_that_fails_leaves_nothing(tmp_path):
  exported = export.read(make_model(tmp_path / 'model'))
  first, *rest = exported.part.tensors

  def fails():
    raise RuntimeError('a disk that went away')

  broken = Part(exported.part.config, [*rest, dataclasses.replace(first, read=fails)])
  with pytest.raises(RuntimeError):
    export.write(dataclasses.replace(exported, part=broken), tmp_path / 'out')
  assert sorted(p.name for p in tmp_path.iterdir()) == ['model']


KILLED = """
import dataclasses, os, signal, sys
from sorajax.generate import export
from sorajax.weights.stored import Part

exported = export.read(sys.argv[1])
*rest, last = exported.part.tensors
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
part = Part(exported.part.config, [*rest, dataclasses.replace(last, read=die)])
export.write(dataclasses.replace(exported, part=part), sys.argv[2])
"""


def test_one_that_is_killed_leaves_nothing_that_looks_whole(tmp_path):
  model = make_model(tmp_path / 'model')
  command = [sys.executable, '-c', KILLED, str(model), str(tmp_path / 'out')]
  done = subprocess.run(command, cwd=ROOT, env={**environment(), 'PYTHONPATH': str(ROOT)})
  assert done.returncode == -signal.SIGKILL
  assert not (tmp_path / 'out').exists()
  (left,) = (p for p in tmp_path.iterdir() if p.name != 'model')
  assert left.name.startswith('.') and not (left / 'model_index.json').exists()
  assert export.write(export.read(model), tmp_path / 'out')


def test_the_command_line(tmp_path):
  workdir = make_run(tmp_path / 'run', whole(2))
  flags = (f'--checkpoint={workdir}', f'--out={tmp_path}/out')
  said = run('launch/convert.py', *flags, '--dtype=float32', '--shard_gb=2e-6')
  assert said == f'in {tmp_path}/out: a transformer alone\n'
  assert tensors_in(tmp_path / 'out') == tensors_of(drawn(2))
  assert len(list((tmp_path / 'out' / 'transformer').glob('*.safetensors'))) > 3
  error = run('launch/convert.py', *flags, fails=True)
  assert error == f'error: {tmp_path}/out is there already; delete it or choose another name\n'
