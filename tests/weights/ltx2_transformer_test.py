import dataclasses
import json
import math
import runpy
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from programs import run
from released import PARAMETERS, SMALL, VERSIONS
from tiny import refused

from sorajax import build
from sorajax.weights import ltx2_transformer, stored
from sorajax.weights.shards import NAMES, Shards
from sorajax.weights.tensors import tensors_of

CONFIG = Path(__file__).resolve().parents[2] / 'configs/ltx2.py'
each_version = pytest.mark.parametrize('version', VERSIONS)


def tensors(config, dtype=np.float32) -> dict[str, np.ndarray]:
  """A checkpoint of noise."""
  rng = np.random.default_rng(0)
  there = tensors_of(ltx2_transformer.places(config))
  return {t.name: rng.standard_normal(t.shape).astype(dtype) for t in there}


@each_version
def test_the_config_files_are_the_released_transformers(version):
  made = build.settings(runpy.run_path(str(CONFIG))['get_config'](version)).transformer
  plain = dataclasses.replace(made, remat='none', compute='float32')
  assert plain == ltx2_transformer.config_of(VERSIONS[version])
  leaves = jax.tree.leaves(ltx2_transformer.shapes(made))
  assert sum(math.prod(leaf.shape) for leaf in leaves) == PARAMETERS[version]


def test_a_version_that_is_not_known_is_refused():
  with pytest.raises(ValueError, match=r"called '3.0'; choose one of 2\.0, 2\.3, 2\.5"):
    runpy.run_path(str(CONFIG))['get_config']('3.0')


@each_version
@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize('kind', ['split', 'interleaved'])
def test_what_is_read_and_written_again_is_the_same(version, dtype, kind):
  config = ltx2_transformer.config_of({**VERSIONS[version], **SMALL, 'rope_type': kind})
  before = tensors(config, dtype)
  params = ltx2_transformer.params_of(config, before)
  after = ltx2_transformer.saved_of(config, params)
  assert sorted(after) == sorted(before)
  for name, value in before.items():
    assert after[name].dtype == dtype and after[name].shape == value.shape
    assert after[name].tobytes() == value.tobytes(), name


@each_version
@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_a_folder_that_is_read_and_written_again_is_the_same(version, dtype, tmp_path):
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  saved = {**VERSIONS[version], **SMALL}
  config = ltx2_transformer.config_of(saved)
  before = tensors(config, dtype)
  params = ltx2_transformer.params_of(config, before)
  made = ltx2_transformer.stored_of(config, params)
  stored.write_folder(tmp_path / 'part', stored.Part(saved, made), 2000)
  after = Shards(tmp_path / 'part')
  assert sorted(after) == sorted(before) and after.config() == saved
  for name, value in before.items():
    assert after[name].dtype == dtype and after[name].shape == value.shape
    assert after[name].tobytes() == value.tobytes(), name


@each_version
@pytest.mark.parametrize(
  'change', [{}, SMALL, {'rope_type': 'interleaved', 'rope_theta': 100.5}, {'base_width': 512}],
  ids=str,
)  # fmt: skip
def test_a_config_that_is_read_and_written_again_is_the_same(version, change):
  config = ltx2_transformer.config_of({**VERSIONS[version], **change})
  changes = {'cross_level': 'own', 'compute': 'bfloat16', 'remat': 'full', 'aligned': 2.0}
  other = dataclasses.replace(config, **changes)
  for one in (config, other):
    assert ltx2_transformer.config_of(ltx2_transformer.saved_config_of(one)) == config


def test_text_that_does_not_hear_of_the_noise_is_written():
  saved = {**VERSIONS['2.3'], 'use_prompt_adaln_single': False}
  config = ltx2_transformer.config_of(saved)
  assert ltx2_transformer.config_of(ltx2_transformer.saved_config_of(config)) == config


@pytest.mark.parametrize(
  'change, message',
  [
    ({'cross_heads': 4}, 'cross_heads=4 where LTX-2 has 32'),
    ({'cross_rope_theta': 9.0}, 'cross_rope_theta=9.0 where LTX-2 has 0.0'),
    ({'cross_gate_level': 'own'}, 'cross_gate_level=own where LTX-2 has other'),
    ({'text_modulation': False}, 'text_levels=True where LTX-2 has False'),
  ],
  ids=str,
)
def test_a_transformer_that_is_no_ltx2_is_not_written(change, message):
  config = ltx2_transformer.config_of(VERSIONS['2.3'])
  with refused(f'the transformer is no LTX-2: it has {message}; give a run of configs/ltx2.py'):
    ltx2_transformer.saved_config_of(dataclasses.replace(config, **change))
  streams = dict(config.streams)
  streams['audio'] = dataclasses.replace(streams['audio'], hidden=100)
  with refused("it has streams.audio={.*'hidden': 100.*where LTX-2 has .*'hidden': 8192"):
    ltx2_transformer.saved_config_of(dataclasses.replace(config, streams=streams))


@pytest.mark.parametrize(
  'change, message',
  [
    ({'patch_size': 2}, 'patch_size=2; only 1 is known'),
    ({'rope_double_precision': False}, 'rope_double_precision=False; only True'),
    ({'rope_type': 'spiral'}, 'rope_type=spiral; split, interleaved are known'),
    ({'gated_attn': False}, 'gated_attn False and audio_gated_attn True; only equal ones'),
    ({'num_attention_heads': 31}, 'cross_attention_dim 4096 and its heads together 3968'),
    ({'rope_twist': 3}, 'has rope_twist, which this project does not know'),
    ({'attention_head_dim': 5, 'cross_attention_dim': 160}, 'head_dim of .* must be even'),
    ({'audio_num_attention_heads': 16, 'audio_attention_head_dim': 128}, 'num_attention_heads 32'),
  ],
  ids=str,
)
def test_options_that_are_unknown_are_refused(change, message):
  with refused(message):
    ltx2_transformer.config_of({**VERSIONS['2.3'], **change})


def test_tensors_that_do_not_fit_are_refused_together():
  config = ltx2_transformer.config_of({**VERSIONS['2.3'], **SMALL})
  given = tensors(config)
  del given['proj_in.bias'], given['proj_out.bias']
  given |= {'strange': np.zeros(3), 'proj_in.weight': np.zeros((7, 7), np.float32)}
  with refused(
    r'2 missing \(proj_in.bias, proj_out.bias\); 1 unknown \(strange\); '
    r'1 misshaped \(proj_in.weight of \(7, 7\) instead of \(18, 3\)\); give the config'
  ):
    ltx2_transformer.params_of(config, given)


def test_of_many_tensors_that_do_not_fit_some_are_named():
  config = ltx2_transformer.config_of({**VERSIONS['2.5'], **SMALL})
  with refused(r'missing \(.*(, .*){7} and \d+ more\); give'):
    ltx2_transformer.params_of(config, {})


EVEN = {
  'num_attention_heads': 2, 'attention_head_dim': 8, 'cross_attention_dim': 16,
  'audio_num_attention_heads': 2, 'audio_attention_head_dim': 4, 'audio_cross_attention_dim': 8,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
  """A checkpoint of three files in half precision, as diffusers lays it out."""
  save = pytest.importorskip('safetensors.numpy', reason="needs 'sorajax[ltx2]'").save_file
  saved = {**VERSIONS['2.5'], **SMALL, **EVEN}
  given = tensors(ltx2_transformer.config_of(saved), ml_dtypes.bfloat16)
  files = [
    f'{NAMES[0].removesuffix(".safetensors")}-0000{i}-of-00003.safetensors' for i in (1, 2, 3)
  ]
  for i, file in enumerate(files):
    save({name: given[name] for name in sorted(given)[i::3]}, tmp_path / file)
  index = {name: files[i % 3] for i, name in enumerate(sorted(given))}
  (tmp_path / f'{NAMES[0]}.index.json').write_text(json.dumps({'weight_map': index}))
  (tmp_path / 'config.json').write_text(json.dumps({'_class_name': 'LTX2', **saved}))
  return tmp_path


def test_a_folder_is_read_onto_a_mesh(folder):
  found = json.loads(run(str(Path(__file__).with_name('load_on_mesh.py')), str(folder)))
  assert found['same'] and found['types'] == ['float32']
  assert found['whole'] == [2, 16, 2, 8] and found['part'] == [2, 8, 1, 8]
  assert found['rounded']  # as they were read, and as if they had been afterwards


def test_a_folder_of_one_file_is_read(folder):
  save = pytest.importorskip('safetensors.numpy').save_file
  several = dict(Shards(folder))
  (folder / f'{NAMES[0]}.index.json').unlink()
  save(several, folder / NAMES[0])
  one = Shards(folder)
  assert len(one) == len(several) and one.shapes() == Shards(folder).shapes()
  assert all((one[name] == value).all() for name, value in several.items())


def test_a_damaged_folder_is_refused(folder):
  first, second, third = sorted(folder.glob('*-of-*'))
  whole = first.read_bytes()
  first.write_bytes(whole[:-5])
  with refused(f'cannot read .*{first.name}: .*; download the checkpoint again'):
    Shards(folder)
  first.unlink()
  second.unlink()
  with refused(f'lacks {first.name}, {second.name}; download'):
    Shards(folder)
  first.write_bytes(whole)
  second.write_bytes(third.read_bytes())
  with refused(f'{second.name} lacks .*, which the index says that it holds; download'):
    Shards(folder)
  (folder / f'{NAMES[0]}.index.json').write_text('{')
  with refused('cannot read .*index.json: '):
    Shards(folder)
  with refused('cannot read .*config.json: No such file'):
    (folder / 'config.json').unlink()
    (folder / f'{NAMES[0]}.index.json').unlink()
    first.rename(folder / NAMES[0])
    Shards(folder).config()
