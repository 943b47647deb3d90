"""Whole models between the one file of a release and a folder, by the program."""

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from programs import run
from released import drawn, small_configs
from tiny import refused

from sorajax.generate import export, layouts
from sorajax.weights import ltx2_duration, ltx2_released, stored
from sorajax.weights import ltx2_single_file as single
from sorajax.weights.shards import File, Shards
from sorajax.weights.stored import Part, Stored

pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
VERSION = '2.3'
CONFIGS = small_configs(VERSION)
HEAD = {'config': '{"a": 1}', 'model_version': '2.3.0'}


def tensors_of(arrays) -> list[Stored]:
  return [Stored(n, stored.NAMES[a.dtype], a.shape, lambda a=a: a) for n, a in arrays.items()]


def parts_of(given) -> dict[str, Part]:
  return {part: Part(CONFIGS[part], tensors_of(own)) for part, own in given.items()}


@pytest.fixture(scope='module')
def release(tmp_path_factory) -> Path:
  """The one file of a small release."""
  path = tmp_path_factory.mktemp('release') / 'ltx.safetensors'
  aside = {'vae.per_channel_statistics.channel': np.arange(6, dtype=np.float32)}
  single.write(path, parts_of(drawn(CONFIGS)), tensors_of(aside), HEAD)
  return path


@pytest.fixture(scope='module')
def gemma(tmp_path_factory) -> Path:
  """A text encoder's folder, of which nothing but the config is read here."""
  folder = tmp_path_factory.mktemp('gemma')
  text = {'hidden_size': 8, 'num_hidden_layers': 3}
  config = {'architectures': ['Gemma3ForConditionalGeneration'], 'text_config': text}
  (folder / 'config.json').write_text(json.dumps(config))
  (folder / 'tokenizer_config.json').write_text('{"tokenizer_class": "GemmaTokenizer"}')
  for name in ('tokenizer.json', 'tokenizer.model', 'chat_template.jinja', 'README.md'):
    (folder / name).write_text(name)
  stored.write_file(folder / 'model.safetensors', tensors_of({'a': np.zeros(3, np.float32)}))
  return folder


@pytest.fixture
def small(monkeypatch):
  """The configs of the release are those of the small one."""
  whole = ltx2_released.configs_of
  monkeypatch.setattr(
    ltx2_released, 'configs_of',
    lambda version, text=None: {**CONFIGS} if version == VERSION else whole(version, text),
  )  # fmt: skip


def test_a_file_to_a_folder_and_back_is_the_same_file(release, gemma, small, tmp_path):
  out = tmp_path / 'out'
  assert layouts.to_folder([release], out, VERSION, str(gemma), shard_bytes=4000) == []
  for part, own in drawn(CONFIGS).items():
    read = Shards(out / part)
    assert read.config() == CONFIGS[part] and sorted(read) == sorted(own)
    assert all(read[name].tobytes() == value.tobytes() for name, value in own.items())
  assert layouts.to_file(export.read(out), tmp_path / 'again.safetensors')
  assert (tmp_path / 'again.safetensors').read_bytes() == release.read_bytes()
  assert File(tmp_path / 'again.safetensors').metadata == HEAD


def test_a_folder_has_what_a_model_needs(release, gemma, small, tmp_path):
  out = tmp_path / 'out'
  layouts.to_folder([release], out, VERSION, str(gemma))
  index = json.loads((out / 'model_index.json').read_text())
  assert index['text_encoder'] == ['transformers', 'Gemma3ForConditionalGeneration']
  assert index['tokenizer'] == ['transformers', 'GemmaTokenizer']
  assert index['vocoder'] == ['ltx2', 'LTX2VocoderWithBWE']
  assert all((out / name).is_dir() for name, kind in index.items() if isinstance(kind, list))
  words = sorted(path.name for path in (out / 'tokenizer').iterdir())
  assert words == [
    'chat_template.jinja', 'tokenizer.json', 'tokenizer.model', 'tokenizer_config.json',
  ]  # fmt: skip
  assert sorted(p.name for p in (out / 'text_encoder').iterdir()) == [
    'config.json', 'model.safetensors',
  ]  # fmt: skip
  schedule = json.loads((out / 'scheduler' / 'scheduler_config.json').read_text())
  assert schedule['shift_terminal'] == 0.1


def test_without_a_text_encoder_it_is_no_whole_model(release, small, tmp_path):
  missing = layouts.to_folder([release], tmp_path / 'out', VERSION)
  assert missing == ['text_encoder', 'tokenizer']
  assert not (tmp_path / 'out' / 'model_index.json').exists()


def test_a_file_of_a_part_is_completed_by_a_model_like_it(release, gemma, small, tmp_path):
  layouts.to_folder([release], tmp_path / 'model', VERSION, str(gemma))
  other = drawn({'transformer': CONFIGS['transformer']}, seed=1)
  single.write(tmp_path / 'file', parts_of(other), [], {})
  assert layouts.like([tmp_path / 'file'], tmp_path / 'out', tmp_path / 'model') == []
  read = Shards(tmp_path / 'out' / 'transformer')
  assert all(read[n].tobytes() == x.tobytes() for n, x in other['transformer'].items())
  vae = [(tmp_path / name / 'vae' / 'config.json') for name in ('model', 'out')]
  assert vae[0].read_bytes() == vae[1].read_bytes()
  assert File(tmp_path / 'out' / single.KEPT).metadata == {}
  with refused(f'{tmp_path} is no model as diffusers saves it; it lacks model_index.json'):
    layouts.like([tmp_path / 'file'], tmp_path / 'more', tmp_path)


def test_a_duration_head_has_a_place_of_its_own(gemma, small, tmp_path):
  """Also where a folder of diffusers, which keeps nothing of a file, goes into one."""
  sizes = {'pooler_hidden_dim': 8, 'audio_cross_attention_dim': 3, 'video_cross_attention_dim': 5}
  shapes = ltx2_duration._shapes(ltx2_duration.config_of(sizes))
  rng = np.random.default_rng(0)
  arrays = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
  rest = ltx2_duration.rest_of(Part(sizes, tensors_of(arrays)))
  single.write(tmp_path / 'file', parts_of(drawn(CONFIGS)), rest, stored.FORMAT)
  model = tmp_path / 'model'
  assert layouts.to_folder([tmp_path / 'file'], model, VERSION, str(gemma)) == []
  index = json.loads((model / 'model_index.json').read_text())
  assert index['duration_head'] == ['ltx2', 'LTX2DurationHead']
  read = Shards(model / 'duration_head')
  assert all(read[n].tobytes() == x.tobytes() for n, x in arrays.items())
  for before in ('as it is', 'without what was kept'):
    layouts.to_file(export.read(model), tmp_path / before)
    assert (tmp_path / before).read_bytes() == (tmp_path / 'file').read_bytes()
    shutil.rmtree(model / 'original', ignore_errors=True)


def test_a_wrong_version_is_told(tmp_path):
  names = single.names_of(ltx2_released.configs_of('2.0'))['transformer']
  arrays = dict.fromkeys(names, np.zeros((), np.float32))
  stored.write_file(tmp_path / 'file', tensors_of(arrays))
  with refused(f'{tmp_path}/file is an LTX-2.0 and --version=2.3; give 2.0'):
    layouts.to_folder([tmp_path / 'file'], tmp_path / 'out', '2.3')
  with refused(r'file is no LTX-2 of this version: 3510 misshaped \(model.diff.* of \(\) instead'):
    layouts.to_folder([tmp_path / 'file'], tmp_path / 'out', '2.0')
  assert not (tmp_path / 'out').exists()


def test_a_full_disk_leaves_nothing(release, gemma, small, tmp_path):
  layouts.to_folder([release], tmp_path / 'model', VERSION, str(gemma))
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
  try:
    with refused(f'cannot write {tmp_path}/out: File too large; choose another folder'):
      layouts.to_folder([release], tmp_path / 'out', VERSION, shard_bytes=15_000)
    with refused(f'cannot write {tmp_path}/file: File too large; choose another folder'):
      layouts.to_file(export.read(tmp_path / 'model'), tmp_path / 'file')
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert [path.name for path in tmp_path.iterdir()] == ['model']


def test_what_is_there_already_stays(release, gemma, small, tmp_path):
  layouts.to_folder([release], tmp_path / 'model', VERSION, str(gemma))
  (tmp_path / 'file').write_text('mine')
  with refused(f'{tmp_path}/file is there already; delete it or choose another name'):
    layouts.to_file(export.read(tmp_path / 'model'), tmp_path / 'file')
  with refused(f'{tmp_path}/model is there already'):
    layouts.to_folder([release], tmp_path / 'model', VERSION)
  assert (tmp_path / 'file').read_text() == 'mine'


def test_a_text_encoder_that_is_not_whole_is_refused(release, gemma, small, tmp_path):
  shutil.copytree(gemma, tmp_path / 'gemma')
  (tmp_path / 'gemma' / 'model.safetensors').unlink()
  with refused('gemma lacks diffusion_pytorch_model.safetensors; download'):
    layouts.to_folder([release], tmp_path / 'out', VERSION, str(tmp_path / 'gemma'))
  with refused(f'cannot read {tmp_path}/nowhere/config.json: No such file'):
    layouts.to_folder([release], tmp_path / 'out', VERSION, str(tmp_path / 'nowhere'))
  assert not (tmp_path / 'out').exists()


def test_the_command_line(release, gemma, small, tmp_path):
  layouts.to_folder([release], tmp_path / 'model', VERSION, str(gemma))
  file, convert = tmp_path / 'file.safetensors', 'launch/convert.py'
  said = run(convert, f'--checkpoint={tmp_path}/model', '--layout=single', f'--out={file}')
  assert said == f'in {file}: one file\n' and file.read_bytes() == release.read_bytes()
  flags = (f'--checkpoint={file}', f'--out={tmp_path}/out')
  said = run(convert, *flags, f'--like={tmp_path}/model')
  assert said == f'in {tmp_path}/out: a whole model\n'
  error = run(convert, *flags, fails=True)
  assert error == f'error: add the --version of {file}, or a MODEL --like it\n'
  file.write_bytes(file.read_bytes()[:-4])
  error = run(convert, *flags, '--version=2.3', fails=True)
  assert error.startswith(f'error: cannot read {file}: ') and error.count('\n') == 1
