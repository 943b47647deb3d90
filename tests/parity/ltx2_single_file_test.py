"""Names and shapes of every part against diffusers' modules and its own readers of the one file.

diffusers' program that converts releases, `scripts/convert_ltx2_to_diffusers.py`, is no part of its
package: where the environment's LTX2_SCRIPT is its path, it is held against too.
"""

import importlib.util
import inspect
import json
import os

import numpy as np
import pytest
from released import SMALL_ONE_STEP, drawn, one_step, packed, small_configs

from sorajax.weights import ltx2_parts, ltx2_released, stored
from sorajax.weights import ltx2_single_file as single
from sorajax.weights.stored import Part, Stored

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
accelerate = pytest.importorskip('accelerate', reason=REASON)
diffusers = pytest.importorskip('diffusers', reason=REASON)
load_file = pytest.importorskip('safetensors.torch', reason=REASON).load_file

SCRIPT = os.environ.get('LTX2_SCRIPT')
each_version = pytest.mark.parametrize('version', ltx2_released.VERSIONS)
each_part = pytest.mark.parametrize('part', ltx2_parts.PARTS)


def module(config: dict):
  from diffusers.pipelines import ltx2

  name = config['_class_name']
  kind = getattr(diffusers, name, None) or getattr(ltx2, name)
  with accelerate.init_empty_weights(include_buffers=True):
    return kind.from_config({n: x for n, x in config.items() if not n.startswith('_')})


def shapes_there(config: dict) -> dict[str, tuple[int, ...]]:
  return {name: tuple(x.shape) for name, x in module(config).state_dict().items()}


@each_version
@each_part
def test_tensors_are_those_of_the_released_modules(version, part):
  for configs in (ltx2_released.configs_of(version), small_configs(version)):
    assert ltx2_parts.shapes_of(part, configs[part]) == shapes_there(configs[part])


@pytest.mark.parametrize(
  'change',
  [
    {'act_fn': 'snake', 'final_bias': True},
    {'act_fn': 'snakebeta', 'antialias': False, 'final_act_fn': None},
    {'act_fn': 'snakebeta', 'antialias': True, 'antialias_kernel_size': 8},
  ],
  ids=str,
)
def test_tensors_of_other_vocoders(change):
  config = {**small_configs('2.0')['vocoder'], **change}
  assert ltx2_parts.shapes_of('vocoder', config) == shapes_there(config)


def one_file(version: str, folder):
  """A file of noise, what is in it by parts, and their configs."""
  configs = small_configs(version)
  given = drawn(configs)
  kind = lambda a: stored.NAMES[a.dtype]
  parts = {
    part: Part(configs[part], [Stored(n, kind(a), a.shape, lambda a=a: a) for n, a in own.items()])
    for part, own in given.items()
  }
  single.write(folder / 'file.safetensors', parts, [], {})
  return load_file(folder / 'file.safetensors'), given, configs


def check_same(there: dict, given: dict[str, np.ndarray]) -> None:
  assert sorted(there) == sorted(given)
  for name, value in given.items():
    assert tuple(there[name].shape) == value.shape
    np.testing.assert_array_equal(there[name].float().numpy(), value.astype(np.float32))


def test_a_file_is_read_by_diffusers(tmp_path):
  """By what its package has, which is the names of 2.0."""
  from diffusers.loaders import single_file_utils as there

  file, given, _ = one_file('2.0', tmp_path)
  readers = {
    'transformer': there.convert_ltx2_transformer_to_diffusers,
    'vae': there.convert_ltx2_vae_to_diffusers,
    'audio_vae': there.convert_ltx2_audio_vae_to_diffusers,
  }
  for part, read in readers.items():
    own = {name: x for name, x in file.items() if name.startswith(single.INSIDE[part])}
    check_same(read(own), given[part])


@pytest.fixture
def script(monkeypatch):
  """diffusers' program, of small models."""
  if not SCRIPT:
    pytest.skip('needs the path of convert_ltx2_to_diffusers.py in LTX2_SCRIPT')
  spec = importlib.util.spec_from_file_location('convert_ltx2_to_diffusers', SCRIPT)
  made = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(made)
  return made


GEMMA = type('Gemma', (), {'hidden_size': 3840, 'num_hidden_layers': 48})
OF_SCRIPT = {
  'transformer': ('transformer', {}), 'connectors': ('connectors', {'gemma_text_config': GEMMA}),
  'vae': ('video_vae', {'timestep_conditioning': False}), 'audio_vae': ('audio_vae', {}),
  'vocoder': ('vocoder', {}),
}  # fmt: skip


@each_version
@each_part
def test_configs_are_those_of_the_program_of_diffusers(script, version, part):
  name, more = OF_SCRIPT[part]
  theirs = getattr(script, f'get_ltx2_{name}_config')(version, **more)[0]['diffusers_config']
  plain = lambda x: [plain(y) for y in x] if isinstance(x, list | tuple) else x
  ours = ltx2_released.configs_of(version)[part]
  kind = type(module(ours))
  default = inspect.signature(kind.__init__).parameters
  whole = {n: default[n].default for n in ours if n in default} | theirs
  assert {n: plain(x) for n, x in whole.items()} | {'_class_name': kind.__name__} == ours


@each_version
@each_part
def test_a_file_is_read_by_the_program_of_diffusers(script, monkeypatch, tmp_path, version, part):
  file, given, configs = one_file(version, tmp_path)
  name, more = OF_SCRIPT[part]
  whole = getattr(script, f'get_ltx2_{name}_config')
  small = {n: x for n, x in configs[part].items() if not n.startswith('_')}

  def config_of(*args, **others):
    _, *rules = whole(*args, **others)
    return {'diffusers_config': small}, *rules

  monkeypatch.setattr(script, f'get_ltx2_{name}_config', config_of)
  own = script.get_model_state_dict_from_combined_ckpt(file, single.INSIDE[part])
  made = getattr(script, f'convert_ltx2_{name}')(own, version=version, **more)
  check_same(made.state_dict(), given[part])


def test_the_one_step_decoder_has_the_config_of_the_program_of_diffusers(script):
  theirs = script.get_ltx2_diffusion_video_vae_config('2.5')[0]['diffusers_config']
  ours = {n: x for n, x in ltx2_released.ONE_STEP.items() if n != '_class_name'}
  assert json.loads(json.dumps(theirs)) == ours


@pytest.mark.parametrize('gates', [False, True])
def test_a_one_step_decoder_is_read_by_the_program_of_diffusers(script, monkeypatch, gates):
  decoder = one_step()
  config = {n: x for n, x in SMALL_ONE_STEP.items() if n != '_class_name'}
  rules = script.get_ltx2_diffusion_video_vae_config('2.5')[1:]
  monkeypatch.setattr(
    script, 'get_ltx2_diffusion_video_vae_config', lambda _: ({'diffusers_config': config}, *rules)
  )
  file = packed(decoder, gates)
  file |= {theirs: decoder[ours] for ours, theirs in single.LATENTS.items()}
  whole = {
    n: torch.from_numpy(x.astype(np.float32)).to(getattr(torch, str(x.dtype)))
    for n, x in file.items()
  }
  made = script.convert_ltx2_diffusion_video_vae(whole, version='2.5').state_dict()
  check_same(made, decoder)
