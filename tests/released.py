"""The released LTX-2 transformers, as their config.json tells them from diffusers' defaults."""

import ml_dtypes
import numpy as np

from sorajax.weights import ltx2_one_step, ltx2_parts, ltx2_released

VERSIONS: dict[str, dict] = {'2.0': {'rope_type': 'split'}}
VERSIONS['2.3'] = {
  'rope_type': 'split', 'gated_attn': True, 'audio_gated_attn': True, 'cross_attn_mod': True,
  'audio_cross_attn_mod': True, 'use_prompt_embeddings': False, 'perturbed_attn': True,
}  # fmt: skip
VERSIONS['2.5'] = {**VERSIONS['2.3'], 'ff_bias': False, 'use_keyframes_abs_pos_embedding': True}
PARAMETERS = {'2.0': 18_876_174_592, '2.3': 18_988_838_144, '2.5': 18_987_859_200}

SMALL = {
  'in_channels': 3, 'out_channels': 3, 'audio_in_channels': 2, 'audio_out_channels': 2,
  'num_attention_heads': 3, 'attention_head_dim': 6, 'cross_attention_dim': 18,
  'audio_num_attention_heads': 3, 'audio_attention_head_dim': 4, 'audio_cross_attention_dim': 12,
  'num_layers': 2, 'caption_channels': 7,
}  # fmt: skip


def small_configs(version: str) -> dict[str, dict]:
  """The config.json files of a small model with the blocks and options of a release, by part."""
  configs = ltx2_released.configs_of(version)
  first = version == '2.0'
  configs['transformer'] |= {**VERSIONS[version], **SMALL}
  heads = {'connector_num_attention_heads': 2, 'connector_attention_head_dim': 4,
           'connector_num_layers': 1, 'connector_num_learnable_registers': 3}  # fmt: skip
  configs['connectors'] |= {
    'caption_channels': 8, 'text_proj_in_factor': 4, 'video_hidden_dim': 8, 'audio_hidden_dim': 8,
    **{f'{m}_{name}': value for m in ('audio', 'video') for name, value in heads.items()},
  }  # fmt: skip
  configs['vae'] |= {
    'latent_channels': 6, 'block_out_channels': [4, 8, 16, 32 if first else 16], 'patch_size': 2,
    'decoder_block_out_channels': [8, 16, 32] if first else [4, 8, 8, 16],
    'layers_per_block': [1, 2, 1, 1, 2],
    'decoder_layers_per_block': [1, 2, 1, 1] if first else [1, 2, 1, 1, 2],
  }  # fmt: skip
  configs['audio_vae'] |= {'base_channels': 8, 'num_res_blocks': 1, 'latent_channels': 2}
  configs['audio_vae'] |= {'mel_bins': 16, 'resolution': 16}
  configs['vocoder'] |= {'in_channels': 4, 'hidden_channels': 64, 'resnet_kernel_sizes': [3, 5]}
  configs['vocoder'] |= {'resnet_dilations': [[1, 3], [1, 2]]}
  if not first:
    configs['vocoder'] |= {'bwe_in_channels': 4, 'bwe_hidden_channels': 32, 'filter_length': 16}
    configs['vocoder'] |= {'window_length': 16, 'num_mel_channels': 2}
  return configs


def drawn(configs: dict[str, dict], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
  """Part → tensors of noise by diffusers' names; those of the autoencoders in half precision."""
  rng = np.random.default_rng(seed)
  half = lambda part: ml_dtypes.bfloat16 if part.endswith('vae') else np.float32
  return {
    part: {
      name: rng.standard_normal(shape).astype(half(part))
      for name, shape in ltx2_parts.shapes_of(part, config).items()
    }
    for part, config in configs.items()
  }


SMALL_ONE_STEP = ltx2_released.ONE_STEP | {
  'latent_channels': 6, 'patch_size': 2, 'decoder_head_dim': 8, 'decoder_t_emb_dim': 12,
  'decoder_stage_channels': [16, 16, 8, 8, 8], 'decoder_stage_depths': [1, 1, 1, 1, 2],
  'decoder_stage_kernels': [[3, 3, 3]] * 4, 'decoder_stage5_kernel': [3, 5, 3],
  'decoder_upsample_channel_reductions': [1, 2, 1, 1], 'spatial_compression_ratio': 16,
}  # fmt: skip
BACK = {now: before for before, now in ltx2_one_step.RELEASED.items()}


def one_step() -> dict[str, np.ndarray]:
  """A one-step decoder by diffusers' names."""
  rng = np.random.default_rng(3)
  shapes = ltx2_one_step.shapes_of(ltx2_one_step.config_of(SMALL_ONE_STEP))
  return {n: rng.standard_normal(s).astype(ml_dtypes.bfloat16) for n, s in shapes.items()}


def packed(decoder: dict[str, np.ndarray], gates: bool = True) -> dict[str, np.ndarray]:
  """The same as its file has it: with maps in one, gates that are powers of 2, a head for previews.

  So dividing by a gate and multiplying by it again changes nothing.
  """
  rng = np.random.default_rng(4)
  found: dict[str, np.ndarray] = {'decoder.coarse_head.weight': np.ones(3, np.float32)}
  for name, value in decoder.items():
    if name in ltx2_one_step.STATISTICS:
      continue
    if '.attn.to_q.' in name:
      letters = [decoder[name.replace('to_q', f'to_{letter}')] for letter in 'qkv']
      found[name.replace('to_q', 'qkv')] = np.concatenate(letters)
    elif '.attn.to_k.' not in name and '.attn.to_v.' not in name:
      for now, before in BACK.items():
        name = name.replace(now, before)
      found[name] = value
  for gate, owner in ltx2_one_step.GATES.items() if gates else ():
    for name in [n for n in found if n.endswith(f'{owner}.weight')]:
      block = name.removesuffix(f'{owner}.weight')
      scale = 2.0 ** rng.integers(-2, 3, found[name].shape[0])
      found[f'{block}{gate}'] = scale.astype(ml_dtypes.bfloat16)
      found[name] = (found[name] / scale[:, None]).astype(ml_dtypes.bfloat16)
      bias = f'{block}{owner}.bias'
      if bias in found:
        found[bias] = (found[bias] / scale).astype(ml_dtypes.bfloat16)
  return found
