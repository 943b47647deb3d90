"""The one file of a release: every tensor of it has one place in diffusers, and goes back there."""

import ml_dtypes
import numpy as np
import pytest
from released import PARAMETERS, VERSIONS, drawn, one_step, packed, small_configs
from tiny import refused

from sorajax.weights import ltx2_parts, ltx2_release, ltx2_released, ltx2_transformer, stored
from sorajax.weights import ltx2_single_file as single
from sorajax.weights.shards import File
from sorajax.weights.stored import Part, Stored

pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
each_version = pytest.mark.parametrize('version', ltx2_released.VERSIONS)
HEAD = {'config': '{"transformer": {}}', 'model_version': '2.x', 'format': 'pt'}
ASIDE = {
  'vae.per_channel_statistics.channel': np.arange(6, dtype=np.float32),
  'vae.per_channel_statistics.mean-of-stds': np.ones(6, ml_dtypes.bfloat16),
  'vae.per_channel_statistics.mean-of-stds_over_std-of-means': np.ones(6, np.float32),
  'duration_head.mlp_hidden.weight': np.ones((2, 3), np.float32),
}


def tensors_of(arrays) -> list[Stored]:
  kind = lambda a: stored.NAMES[a.dtype]
  return [Stored(n, kind(a), a.shape, lambda a=a: a) for n, a in arrays.items()]


def write(path, configs, arrays, head=HEAD):
  parts = {part: Part(configs[part], tensors_of(own)) for part, own in arrays.items()}
  single.write(path, parts, tensors_of(ASIDE), head)
  return path


@each_version
def test_the_configs_are_those_of_the_released_transformers(version):
  configs = ltx2_released.configs_of(version)
  made = ltx2_transformer.config_of(configs['transformer'])
  assert made == ltx2_transformer.config_of(VERSIONS[version])
  shapes = ltx2_parts.shapes_of('transformer', configs['transformer'])
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == PARAMETERS[version]


@each_version
def test_no_two_tensors_have_a_name(version):
  configs = ltx2_released.configs_of(version)
  names = [name for part in single.names_of(configs).values() for name in part]
  shapes = [ltx2_parts.shapes_of(part, config) for part, config in configs.items()]
  assert len(set(names)) == sum(len(part) for part in shapes)


BLOCK = 'transformer_blocks.7.'
NAMES = [
  ('transformer', 'proj_in.weight', 'patchify_proj.weight'),
  ('transformer', 'audio_time_embed.linear.bias', 'audio_adaln_single.linear.bias'),
  ('transformer', 'audio_prompt_adaln.linear.bias', 'audio_prompt_adaln_single.linear.bias'),
  (
    'transformer', 'av_cross_attn_video_a2v_gate.linear.bias',
    'av_ca_a2v_gate_adaln_single.linear.bias',
  ),
  (
    'transformer', f'{BLOCK}audio_a2v_cross_attn_scale_shift_table',
    f'{BLOCK}scale_shift_table_a2v_ca_audio',
  ),
  ('transformer', f'{BLOCK}attn2.norm_q.weight', f'{BLOCK}attn2.q_norm.weight'),
  ('transformer', f'{BLOCK}ff.net.0.proj.weight', f'{BLOCK}ff.net.0.proj.weight'),
  (
    'connectors', 'audio_connector.transformer_blocks.1.attn1.norm_k.weight',
    'audio_embeddings_connector.transformer_1d_blocks.1.attn1.k_norm.weight',
  ),
  ('connectors', 'video_text_proj_in.bias', 'text_embedding_projection.video_aggregate_embed.bias'),
  ('vae', 'latents_std', 'per_channel_statistics.std-of-means'),
  ('vae', 'encoder.conv_in.conv.bias', 'encoder.conv_in.conv.bias'),
  (
    'vae', 'encoder.down_blocks.2.downsamplers.0.conv.conv.bias',
    'encoder.down_blocks.5.conv.conv.bias',
  ),
  (
    'vae', 'encoder.down_blocks.3.resnets.1.conv2.conv.weight',
    'encoder.down_blocks.6.res_blocks.1.conv2.conv.weight',
  ),
  (
    'vae', 'encoder.mid_block.resnets.0.conv1.conv.bias',
    'encoder.down_blocks.8.res_blocks.0.conv1.conv.bias',
  ),
  (
    'vae', 'decoder.mid_block.resnets.0.conv1.conv.bias',
    'decoder.up_blocks.0.res_blocks.0.conv1.conv.bias',
  ),
  ('vae', 'decoder.up_blocks.3.upsamplers.0.conv.conv.bias', 'decoder.up_blocks.7.conv.conv.bias'),
  (
    'vae', 'decoder.up_blocks.3.resnets.0.conv1.conv.bias',
    'decoder.up_blocks.8.res_blocks.0.conv1.conv.bias',
  ),
  ('audio_vae', 'latents_mean', 'per_channel_statistics.mean-of-means'),
  ('audio_vae', 'decoder.up.1.upsample.conv.conv.bias', 'decoder.up.1.upsample.conv.conv.bias'),
  ('vocoder', 'vocoder.upsamplers.3.bias', 'vocoder.ups.3.bias'),
  (
    'vocoder', 'bwe_generator.resnets.4.acts1.2.downsample.filter',
    'bwe_generator.resblocks.4.acts1.2.downsample.lowpass.filter',
  ),
  ('vocoder', 'vocoder.act_out.upsample.filter', 'vocoder.act_post.upsample.filter'),
  ('vocoder', 'vocoder.conv_out.weight', 'vocoder.conv_post.weight'),
  ('vocoder', 'mel_stft.stft_fn.inverse_basis', 'mel_stft.stft_fn.inverse_basis'),
]  # fmt: skip


@pytest.mark.parametrize('part, ours, theirs', NAMES)
def test_names_are_those_of_the_release(part, ours, theirs):
  whole = theirs.startswith('text_embedding_projection.')
  expected = theirs if whole else single.INSIDE[part] + theirs
  configs = ltx2_released.configs_of('2.3')
  assert single.names_of(configs)[part][expected] == ours


def test_the_first_release_has_one_projection():
  names = single.names_of(ltx2_released.configs_of('2.0'))
  name = 'text_embedding_projection.aggregate_embed.weight'
  assert names['connectors'][name] == 'text_proj_in.weight'
  assert names['vocoder']['vocoder.ups.0.weight'] == 'upsamplers.0.weight'
  assert names['vae']['vae.decoder.up_blocks.6.res_blocks.0.conv1.conv.bias']


@each_version
def test_a_file_that_is_read_and_written_again_is_the_same(version, tmp_path):
  configs = small_configs(version)
  given = drawn(configs)
  file = write(tmp_path / 'one', configs, given)
  release = ltx2_release.opened(file)
  parts, rest = single.read(release, configs)
  assert (
    release.metadata == HEAD
    and release.text is None
    and sorted(t.name for t in rest) == sorted(ASIDE)
  )
  for part, own in parts.items():
    assert own.config == configs[part]
    read = {t.name: t.read() for t in own.tensors}
    assert sorted(read) == sorted(given[part])
    for name, value in given[part].items():
      assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape)
      assert read[name].tobytes() == value.tobytes(), name
  single.write(tmp_path / 'two', parts, rest, release.metadata)
  assert (tmp_path / 'two').read_bytes() == (tmp_path / 'one').read_bytes()


def test_a_file_of_some_parts_gives_those(tmp_path):
  configs = small_configs('2.3')
  given = drawn({part: configs[part] for part in ('vae', 'transformer')})
  file = write(tmp_path / 'file', configs, given)
  parts, _ = single.read(ltx2_release.opened(file), configs)
  assert sorted(parts) == ['transformer', 'vae']


def test_a_one_step_decoder_without_its_autoencoder_is_refused(tmp_path):
  configs = small_configs('2.5')
  file = write(tmp_path / 'file', configs, drawn({'transformer': configs['transformer']}))
  stored.write_file(tmp_path / 'decoder', tensors_of(packed(one_step())))
  for given in ([file], []):
    with refused('decoder has a one-step decoder without the autoencoder of its latents; give'):
      single.read(ltx2_release.opened(*given, tmp_path / 'decoder'), configs)


def test_tensors_that_do_not_fit_are_refused_together(tmp_path):
  configs = small_configs('2.3')
  given = drawn(configs)
  write(tmp_path / 'whole', configs, given)
  arrays = dict(File(tmp_path / 'whole'))
  del arrays['vae.encoder.conv_in.conv.bias'], arrays['vocoder.mel_stft.mel_basis']
  arrays['model.diffusion_model.patchify_proj.bias'] = np.zeros(5, np.float32)
  arrays['model.diffusion_model.strange'] = arrays['loose'] = np.zeros(5, np.float32)
  stored.write_file(tmp_path / 'odd', tensors_of(arrays))
  with refused(
    r'odd is no LTX-2 of this version: 2 missing \(vae.encoder.conv_in.conv.bias, '
    r'vocoder.mel_stft.mel_basis\); 2 unknown \(loose, model.diffusion_model.strange\); '
    r'1 misshaped \(model.diffusion_model.patchify_proj.bias of \(5,\) instead of \(18,\)\); give'
  ):
    single.read(ltx2_release.opened(tmp_path / 'odd'), configs)
  with refused('other is no LTX-2 of this version: 1 unknown'):
    stored.write_file(tmp_path / 'other', tensors_of({'a': np.zeros(3, np.float32)}))
    single.read(ltx2_release.opened(tmp_path / 'other'), configs)
  with refused('empty is no LTX-2 of this version: it holds no part of one'):
    stored.write_file(tmp_path / 'empty', [])
    single.read(ltx2_release.opened(tmp_path / 'empty'), configs)
  del given['vae']['latents_std']
  with refused(r'vae is not as its config.json says: 1 missing \(latents_std\); download it again'):
    write(tmp_path / 'again', configs, given)
  assert not (tmp_path / 'again').exists()


def test_a_damaged_file_is_refused(tmp_path):
  configs = small_configs('2.0')
  given = drawn({'vae': configs['vae']})
  file = write(tmp_path / 'file', configs, given)
  file.write_bytes(file.read_bytes()[:-3])
  with refused(f'cannot read {file}: .*; download the checkpoint again'):
    single.read(ltx2_release.opened(file), configs)
  with refused(f'cannot read {tmp_path}/no: .*; download the checkpoint again'):
    single.read(ltx2_release.opened(tmp_path / 'no'), configs)


def test_the_version_of_a_file_is_known_by_its_names(tmp_path):
  names = single.names_of(ltx2_released.configs_of('2.3'))
  kept = {n for part in ('transformer', 'vocoder') for n in names[part]}
  zeros = dict.fromkeys(sorted(kept), np.zeros((), np.float32))
  stored.write_file(tmp_path / 'file', tensors_of({**zeros, **ASIDE}))
  assert single.version_of(ltx2_release.opened(tmp_path / 'file')) == '2.3'
  stored.write_file(tmp_path / 'other', tensors_of({**zeros, 'strange': np.zeros(1)}))
  assert single.version_of(ltx2_release.opened(tmp_path / 'other')) is None


def test_a_config_that_lacks_something_is_refused():
  configs = small_configs('2.3')
  del configs['audio_vae']['mel_bins']
  with refused("config.json of the audio autoencoder lacks 'mel_bins'; give that of its release"):
    ltx2_parts.shapes_of('audio_vae', configs['audio_vae'])
  with refused("no LTX-2 is called '9'; choose one of 2.0, 2.3, 2.5"):
    ltx2_released.configs_of('9')
  with refused("config.json of the text encoder lacks 'model_type'; give that of its release"):
    ltx2_released.configs_of('2.3', {'hidden_size': 3})
  with refused('the text encoder is a t5; only gemma3_text and gemma4_unified_text are known'):
    ltx2_released.configs_of('2.3', {'model_type': 't5'})
