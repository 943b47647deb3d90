"""A checkpoint of 8-bit floats is read as the same model in bfloat16."""

import ml_dtypes
import numpy as np
import pytest
from released import drawn, small_configs
from tiny import refused

from sorajax.weights import ltx2_release, stored
from sorajax.weights import ltx2_single_file as single
from sorajax.weights.shards import File, Shards
from sorajax.weights.stored import Part, Stored

pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
F8 = ml_dtypes.float8_e4m3fn
MOST = float(ml_dtypes.finfo(F8).max)


def tensors_of(arrays) -> list[Stored]:
  kind = lambda a: stored.NAMES[a.dtype]
  return [Stored(n, kind(a), a.shape, lambda a=a: a) for n, a in arrays.items()]


def weight(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def rounded(w: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A weight in 8 bits and what a reader should make of it."""
  by_output = scale.reshape(-1, *[1] * (w.ndim - 1)).astype(np.float32)
  eight = np.clip(w / by_output, -MOST, MOST).astype(F8)
  return eight, (eight.astype(np.float32) * by_output).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize('word', ['weight_scale', 'scale_weight'])
@pytest.mark.parametrize('shape', [(), (1,), (6,), (6, 1)])
@pytest.mark.parametrize('kind', [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_a_weight_is_times_its_scale(tmp_path, word, shape, kind):
  scale = np.linspace(0.01, 0.07, int(np.prod(shape)), dtype=np.float32).reshape(shape)
  eight = (weight(6, 5) / 0.01).astype(kind)
  hints = {'a.input_scale': scale, 'a.comfy_quant': np.zeros(3, np.uint8)}
  given = {'a.weight': eight, f'a.{word}': scale, 'a.bias': weight(6), **hints}
  names = ('scaled_fp8', 'model.diffusion_model.scaled_fp8')
  marker = {name: np.zeros(2, kind) for name in names}
  stored.write_file(tmp_path / 'file', tensors_of(given | marker))
  file = File(tmp_path / 'file')
  assert sorted(file) == ['a.bias', 'a.weight']
  assert file.shapes() == {'a.bias': (6,), 'a.weight': (6, 5)}
  assert file.kinds() == {'a.bias': 'F32', 'a.weight': 'BF16'}
  by_output = scale.reshape(-1, 1)
  wanted = (eight.astype(np.float32) * by_output).astype(ml_dtypes.bfloat16)
  assert file['a.weight'].dtype == wanted.dtype
  np.testing.assert_array_equal(file['a.weight'], wanted)
  np.testing.assert_array_equal(file['a.bias'], given['a.bias'])


def test_without_a_scale_a_weight_is_what_it_says(tmp_path):
  eight = weight(3, 4).astype(F8)
  stored.write_file(tmp_path / 'file', tensors_of({'a.weight': eight, 'b': eight}))
  file = File(tmp_path / 'file')
  for name in ('a.weight', 'b'):
    np.testing.assert_array_equal(file[name].astype(np.float32), eight.astype(np.float32))


def test_scales_of_whole_numbers_stay_tensors(tmp_path):
  """Only beside 8-bit floats are they no part of the model."""
  given = {'a.weight': weight(3, 4), 'a.weight_scale': weight(3), 'a.input_scale': weight(1)}
  stored.write_file(tmp_path / 'file', tensors_of(given))
  assert sorted(File(tmp_path / 'file')) == sorted(given)


def test_a_scale_may_lie_in_another_file(tmp_path):
  eight, wanted = rounded(weight(8, 8), np.full((), 0.01, np.float32))
  scale = np.full((), 0.01, np.float32)
  part = Part({}, tensors_of({'a.weight': eight, 'a.weight_scale': scale}))
  stored.write_folder(tmp_path / 'part', part, 64)
  assert len(list((tmp_path / 'part').glob('*.safetensors'))) == 2
  np.testing.assert_array_equal(Shards(tmp_path / 'part')['a.weight'], wanted)


def test_scales_of_blocks_are_refused(tmp_path):
  given = {'a.weight': weight(8, 6).astype(F8), 'a.weight_scale': weight(2, 3)}
  stored.write_file(tmp_path / 'file', tensors_of(given))
  with refused(
    r'file: a.weight has a scale of \(2, 3\) for a weight of \(8, 6\); only such for all or each '
    'output are known'
  ):
    File(tmp_path / 'file')['a.weight']


@pytest.mark.parametrize('version', ['2.0', '2.3'])
def test_a_release_of_8_bits_is_the_model_it_was_made_of(version, tmp_path):
  """Matrices of the blocks alone are of 8 bits, as in the released files."""
  configs = {'transformer': small_configs(version)['transformer']}
  model = drawn(configs)['transformer']
  given, wanted = {}, {}
  for name, value in model.items():
    there = single.name_of('transformer', configs['transformer'], name)
    if 'transformer_blocks' in name and name.endswith('.weight') and value.ndim == 2:
      scale = np.abs(value).astype(np.float32).max() / np.float32(MOST)
      given[there], wanted[name] = rounded(value.astype(np.float32), scale)
      stem = there.removesuffix('.weight')
      given |= {f'{stem}.weight_scale': scale, f'{stem}.input_scale': np.ones((), np.float32)}
    else:
      given[there] = wanted[name] = value
  stored.write_file(tmp_path / 'file', tensors_of(given))
  parts, rest = single.read(ltx2_release.opened(tmp_path / 'file'), configs)
  assert not rest and any(v.dtype == F8 for v in given.values())
  read = {t.name: t.read() for t in parts['transformer'].tensors}
  assert sorted(read) == sorted(model)
  for name, value in read.items():
    np.testing.assert_array_equal(value, wanted[name])
    error = np.abs(value.astype(np.float32) - model[name].astype(np.float32)).max()
    assert error <= 0.04 * np.abs(model[name].astype(np.float32)).max()
