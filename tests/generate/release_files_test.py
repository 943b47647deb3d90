"""A release in a file for each part becomes the folder that one file of all parts becomes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from programs import run
from released import SMALL_ONE_STEP, drawn, one_step, packed, small_configs
from tiny import refused

from sorajax.codec import codec as codec_lib
from sorajax.codec.codec import Codec
from sorajax.generate import layouts
from sorajax.generate import released as released_models
from sorajax.weights import ltx2_duration, ltx2_one_step, ltx2_released, stored
from sorajax.weights import ltx2_single_file as single
from sorajax.weights.shards import File, Shards
from sorajax.weights.stored import Part, Stored

pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
CONFIGS = small_configs('2.5')
GEMMA = {
  'architectures': ['Gemma4UnifiedForConditionalGeneration'],
  'text_config': {'hidden_size': 8, 'num_hidden_layers': 3},
}
FILES = {
  'tokenizer.json': b'{"words": 1}', 'tokenizer_config.json': b'{"tokenizer_class": "Gemma"}',
  'chat_template.jinja': 'été'.encode(), 'processor_config.json': b'{}',
  'generation_config.json': b'{"a": 1}',
}  # fmt: skip


def tensors_of(arrays) -> list[Stored]:
  return [Stored(n, stored.NAMES[a.dtype], a.shape, lambda a=a: a) for n, a in arrays.items()]


def as_bytes(content: bytes) -> np.ndarray:
  return np.frombuffer(content, np.uint8)


def head() -> list[Stored]:
  sizes = {'pooler_hidden_dim': 8, 'audio_cross_attention_dim': 3, 'video_cross_attention_dim': 5}
  shapes = ltx2_duration._shapes(ltx2_duration.config_of(sizes))
  arrays = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
  return ltx2_duration.rest_of(Part(sizes, tensors_of(arrays)))


GEMMA_TENSORS = {  # as the file has them → as transformers has them
  'model.layers.0.mlp.up_proj.weight': 'model.language_model.layers.0.mlp.up_proj.weight',
  'model.embed_tokens.weight': 'model.language_model.embed_tokens.weight',
  'model.norm.weight': 'model.language_model.norm.weight',
  'vision_model.patch_dense.weight': 'model.vision_embedder.patch_dense.weight',
  'multi_modal_projector.embedding_projection.weight':
    'model.embed_vision.embedding_projection.weight',
  'audio_projector.embedding_projection.weight': 'model.embed_audio.embedding_projection.weight',
}  # fmt: skip


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, Path]:
  """A small release: a file of all parts but the text encoder, and a file for each."""
  folder, made = tmp_path_factory.mktemp('release'), {}
  parts = {n: Part(CONFIGS[n], tensors_of(own)) for n, own in drawn(CONFIGS).items()}
  whole = folder / 'whole.safetensors'
  single.write(whole, parts, head(), {'model_version': '2.5'})
  all_of, rng = File(whole), np.random.default_rng(0)

  def write(name: str, arrays: dict, metadata=None) -> None:
    made[name] = folder / f'{name}.safetensors'
    stored.write_file(made[name], tensors_of(arrays), metadata or {'part': name})

  of = lambda *begins: {n: all_of[n] for n in all_of if n.startswith(begins)}
  alone = lambda arrays: {n.removeprefix('vae.'): x for n, x in arrays.items()}
  write('transformer', of('model.diffusion_model.'))
  text = {n: rng.standard_normal((2, 3)).astype(np.float32) for n in GEMMA_TENSORS}
  words = {f'hf_asset__{n}': as_bytes(x) for n, x in FILES.items() if n.startswith('t')}
  del words['hf_asset__tokenizer.json']
  words |= {'tokenizer_json': as_bytes(FILES['tokenizer.json'])}
  told = {n: x.decode() for n, x in FILES.items() if not n.startswith('t')}
  text_head = {'gemma_config': json.dumps(GEMMA), **told}
  write('text', {**of('text_embedding_projection.'), **text, **words}, text_head)
  write('conv', alone(of('vae.')))
  write('one_step', {**alone(of('vae.encoder.', 'vae.per_channel')), **packed(one_step())})
  write('audio', of('audio_vae.', 'vocoder.'))
  write('duration', of('duration_head.'))
  return {'whole': whole, **made}


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """The configs of the release are those of the small one."""
  monkeypatch.setattr(ltx2_released, 'configs_of', lambda version, text=None: {**CONFIGS})
  monkeypatch.setattr(ltx2_released, 'ONE_STEP', SMALL_ONE_STEP)


def held(folder: Path) -> dict[str, bytes]:
  """Name → bytes of all tensors."""
  read = Shards(folder)
  return {name: read[name].tobytes() for name in read}


def test_a_file_for_each_part_gives_the_parts_of_one_file(files, tmp_path):
  names = ('transformer', 'text', 'conv', 'one_step', 'audio', 'duration')
  out, one = tmp_path / 'out', tmp_path / 'one'
  assert layouts.to_folder([files[n] for n in names], out, '2.5', shard_bytes=4000) == []
  assert layouts.to_folder([files['whole']], one, '2.5') == ['text_encoder', 'tokenizer']
  for part in (*CONFIGS, 'duration_head'):
    assert held(out / part) == held(one / part)
    assert (out / part / 'config.json').read_text() == (one / part / 'config.json').read_text()
  index = json.loads((out / 'model_index.json').read_text())
  assert index['text_encoder'] == ['transformers', GEMMA['architectures'][0]]
  assert index['tokenizer'] == ['transformers', 'Gemma'] and 'duration_head' in index
  assert File(out / single.KEPT).metadata == {'part': 'transformer'}


@pytest.mark.parametrize('gates', [False, True])
def test_a_one_step_decoder_is_that_of_diffusers(files, tmp_path, gates):
  """Its maps taken apart, each gate in the map that it scaled."""
  encoder = {n: x for n, x in File(files['conv']).items() if not n.startswith('decoder.')}
  stored.write_file(tmp_path / 'file', tensors_of({**encoder, **packed(one_step(), gates)}))
  given = [files['conv'], tmp_path / 'file']
  layouts.to_folder(given, tmp_path / 'out', '2.5')
  read = Shards(tmp_path / 'out' / 'diffusion_decoder')
  assert read.config() == SMALL_ONE_STEP
  vae = Shards(tmp_path / 'out' / 'vae')
  wanted = {**one_step(), **{n: vae[n] for n in ltx2_one_step.STATISTICS}}
  assert held(tmp_path / 'out' / 'diffusion_decoder') == {n: x.tobytes() for n, x in wanted.items()}


def test_a_text_encoder_and_its_tokenizer_are_as_transformers_saves_them(files, tmp_path):
  given = [files['transformer'], files['text']]
  missing = layouts.to_folder(given, tmp_path / 'out', '2.5', shard_bytes=60)
  assert missing == ['vae', 'audio_vae', 'vocoder']
  assert not (tmp_path / 'out' / 'model_index.json').exists()
  text, words = tmp_path / 'out' / 'text_encoder', tmp_path / 'out' / 'tokenizer'
  read, given = Shards(text), File(files['text'])
  assert read.config() == GEMMA and (text / 'model.safetensors.index.json').exists()
  assert sorted(read) == sorted(GEMMA_TENSORS.values())
  for name, now in GEMMA_TENSORS.items():
    np.testing.assert_array_equal(read[now], given[name])
  assert (text / 'generation_config.json').read_bytes() == FILES['generation_config.json']
  assert {path.name: path.read_bytes() for path in words.iterdir()} == {
    name: content for name, content in FILES.items() if name.startswith(('tok', 'chat'))
  }


def test_of_the_picture_the_one_step_decoder_is_enough(files, tmp_path):
  names = ('transformer', 'text', 'one_step', 'audio')
  assert layouts.to_folder([files[n] for n in names], tmp_path / 'out', '2.5') == []
  vae = Shards(tmp_path / 'out' / 'vae')
  assert 'encoder.conv_in.conv.weight' in vae and not any(n.startswith('decoder') for n in vae)
  plain = Codec(released_models.picture_of(tmp_path / 'out'), tiny.codec().audio)
  codec = released_models.with_one_step(plain, tmp_path / 'out')
  pixels = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
  latents = codec.encode_picture(pixels)
  assert latents.shape == (2, 4, 4, 6)
  codec.save(tmp_path / 'codec')
  again = codec_lib.load(tmp_path / 'codec')
  np.testing.assert_array_equal(again.encode_picture(pixels), latents)
  with refused('out has no convolutional decoder; leave --decoder=convolutional out'):
    released_models.decoded_by(codec, 'convolutional', tmp_path / 'out')


def test_a_model_is_given_a_one_step_decoder_and_keeps_its_own(files, tmp_path):
  names = ('transformer', 'text', 'conv', 'audio')
  layouts.to_folder([files[n] for n in names], tmp_path / 'model', '2.5')
  assert layouts.like([files['one_step']], tmp_path / 'out', tmp_path / 'model') == []
  assert held(tmp_path / 'out' / 'vae') == held(tmp_path / 'model' / 'vae')
  assert 'decoder.conv_in_x_t.weight' in Shards(tmp_path / 'out' / 'diffusion_decoder')


def test_files_that_do_not_go_together_are_refused(files, tmp_path):
  out = tmp_path / 'out'
  with refused(r'audio.*holds audio_vae.* and \d+ more, as .*whole.* does; give one of them'):
    layouts.to_folder([files['whole'], files['audio']], out, '2.5')
  with refused('text.* holds a text encoder, as another file does; give one of them'):
    layouts.to_folder([files['text'], files['text']], out, '2.5')
  with refused(r'hold a text encoder; leave --text_encoder=gemma out'):
    layouts.to_folder([files['text'], files['transformer']], out, '2.5', 'gemma')
  with refused(r'is no LTX-2 of this version: 4 missing \(text_embedding_projection.audio'):
    layouts.to_folder([files['transformer'], files['audio']], out, '2.5')
  decoder = packed(one_step())
  decoder['decoder.det_stages.9.strange'] = np.ones(2, np.float32)
  encoder = {n: x for n, x in File(files['one_step']).items() if not n.startswith('decoder.')}
  stored.write_file(tmp_path / 'odd', tensors_of({**encoder, **decoder}))
  with refused(r'the one-step decoder is not that of a release: .*unknown \(decoder.det_stages.9'):
    layouts.to_folder([tmp_path / 'odd'], out, '2.5')
  text = dict(File(files['text']))
  del text['tokenizer_json']
  stored.write_file(tmp_path / 'mute', tensors_of(text), {'gemma_config': '{}'})
  with refused('mute holds a text encoder without tokenizer_json; download it again'):
    layouts.to_folder([tmp_path / 'mute'], out, '2.5')
  stored.write_file(tmp_path / 'mute', tensors_of(text), {'gemma_config': '{'})
  with refused('cannot read .*mute: the config of its text encoder'):
    layouts.to_folder([tmp_path / 'mute'], out, '2.5')
  assert not out.exists()


def test_the_command_line_takes_several_files(files, tmp_path):
  convert, out = 'launch/convert.py', f'--out={tmp_path}/out'
  given = [f'--checkpoint={files[name]}' for name in ('audio', 'conv')]
  error = run(convert, *given, '--version=2.5', out, fails=True)
  assert error.startswith('error: ') and 'is no LTX-2 of this version' in error
  error = run(convert, given[0], f'--checkpoint={tmp_path}', '--version=2.5', out, fails=True)
  assert error == (
    f'error: {tmp_path} is no file; give several files of a release, or one RUN or MODEL\n'
  )


def test_an_upsampler_s_file_must_tell_its_config(files, tmp_path):
  path = tmp_path / 'up.safetensors'
  for head in (None, '{', '3'):
    given = {} if head is None else {'config': head}
    stored.write_file(path, tensors_of({'initial_conv.bias': np.ones(3, np.float32)}), given)
    with refused(f'the head of {path} does not tell the config of an upsampler; give one of a'):
      released_models.enlarger_of(path, tiny.codec())
