"""What the config.json files of the released LTX-2 models say, by version and part."""

from collections.abc import Mapping
from typing import Any

from sorajax.errors import UserError
from sorajax.weights import gemma, ltx2_one_step, ltx2_transformer

VERSIONS = ('2.0', '2.3', '2.5')
Config = dict[str, Any]

_TRANSFORMER: Config = {
  '_class_name': ltx2_transformer.CLASS, **ltx2_transformer.DEFAULTS, **ltx2_transformer.FIXED,
  'vae_scale_factors': [8, 32, 32], 'audio_scale_factor': 4, 'audio_sampling_rate': 16_000,
  'audio_hop_length': 160, 'perturbed_attn': False, 'rope_type': 'split',
}  # fmt: skip
_NEWER_TRANSFORMER: Config = {
  **_TRANSFORMER, 'gated_attn': True, 'audio_gated_attn': True, 'cross_attn_mod': True,
  'audio_cross_attn_mod': True, 'use_prompt_embeddings': False, 'perturbed_attn': True,
}  # fmt: skip
_NEWEST_TRANSFORMER: Config = {
  **_NEWER_TRANSFORMER, 'ff_bias': False, 'use_keyframes_abs_pos_embedding': True,
}  # fmt: skip

_CONNECTORS: Config = {
  '_class_name': 'LTX2TextConnectors', 'caption_channels': 3840, 'text_proj_in_factor': 49,
  'connector_rope_base_seq_len': 4096, 'rope_theta': 10_000.0, 'rope_double_precision': True,
  'causal_temporal_positioning': False, 'rope_type': 'split',
  'per_modality_projections': False, 'proj_bias': False,
}  # fmt: skip


def _mixing(m: str, heads: int, head_dim: int, layers: int, gated: bool) -> Config:
  own = {'num_attention_heads': heads, 'attention_head_dim': head_dim, 'num_layers': layers,
         'num_learnable_registers': 128}  # fmt: skip
  return {f'{m}_gated_attn': gated, **{f'{m}_connector_{n}': x for n, x in own.items()}}


_OLDER_CONNECTORS: Config = {
  **_CONNECTORS, **_mixing('video', 30, 128, 2, False), **_mixing('audio', 30, 128, 2, False),
}  # fmt: skip
_NEWER_CONNECTORS: Config = {
  **_CONNECTORS, **_mixing('video', 32, 128, 8, True), **_mixing('audio', 32, 64, 8, True),
  'per_modality_projections': True, 'proj_bias': True, 'video_hidden_dim': 4096,
  'audio_hidden_dim': 2048,
}  # fmt: skip

_VIDEO: Config = {
  '_class_name': 'AutoencoderKLLTX2Video', 'in_channels': 3, 'out_channels': 3,
  'latent_channels': 128, 'down_block_types': ['LTX2VideoDownBlock3D'] * 4,
  'spatio_temporal_scaling': [True] * 4,
  'downsample_type': ['spatial', 'temporal', 'spatiotemporal', 'spatiotemporal'],
  'timestep_conditioning': False, 'patch_size': 4, 'patch_size_t': 1, 'resnet_norm_eps': 1e-6,
  'scaling_factor': 1.0, 'encoder_causal': True, 'decoder_causal': False,
  'encoder_spatial_padding_mode': 'zeros', 'spatial_compression_ratio': 32,
  'temporal_compression_ratio': 8,
}  # fmt: skip
_OLDER_VIDEO: Config = {
  **_VIDEO, 'block_out_channels': [256, 512, 1024, 2048], 'layers_per_block': [4, 6, 6, 2, 2],
  'decoder_block_out_channels': [256, 512, 1024], 'decoder_layers_per_block': [5] * 4,
  'decoder_spatio_temporal_scaling': [True] * 3, 'decoder_inject_noise': [False] * 4,
  'upsample_type': ['spatiotemporal'] * 3, 'upsample_residual': [True] * 3,
  'upsample_factor': [2] * 3, 'decoder_spatial_padding_mode': 'reflect',
}  # fmt: skip
_NEWER_VIDEO: Config = {
  **_VIDEO, 'block_out_channels': [256, 512, 1024, 1024], 'layers_per_block': [4, 6, 4, 2, 2],
  'decoder_block_out_channels': [256, 512, 512, 1024],
  'decoder_layers_per_block': [4, 6, 4, 2, 2], 'decoder_spatio_temporal_scaling': [True] * 4,
  'decoder_inject_noise': [False] * 5, 'upsample_residual': [False] * 4,
  'upsample_type': ['spatiotemporal', 'spatiotemporal', 'temporal', 'spatial'],
  'upsample_factor': [2, 2, 1, 2], 'decoder_spatial_padding_mode': 'zeros',
}  # fmt: skip

_AUDIO: Config = {
  '_class_name': 'AutoencoderKLLTX2Audio', 'base_channels': 128, 'output_channels': 2,
  'ch_mult': [1, 2, 4], 'num_res_blocks': 2, 'attn_resolutions': None, 'in_channels': 2,
  'resolution': 256, 'latent_channels': 8, 'norm_type': 'pixel', 'causality_axis': 'height',
  'dropout': 0.0, 'mid_block_add_attention': False, 'sample_rate': 16_000, 'mel_hop_length': 160,
  'is_causal': True, 'mel_bins': 64, 'double_z': True,
}  # fmt: skip

_SPEAKER: Config = {
  'in_channels': 128, 'out_channels': 2, 'resnet_kernel_sizes': [3, 7, 11],
  'resnet_dilations': [[1, 3, 5]] * 3, 'leaky_relu_negative_slope': 0.1, 'antialias_ratio': 2,
  'antialias_kernel_size': 12,
}  # fmt: skip
_OLDER_VOCODER: Config = {
  '_class_name': 'LTX2Vocoder', **_SPEAKER, 'hidden_channels': 1024,
  'upsample_kernel_sizes': [16, 15, 8, 4, 4], 'upsample_factors': [6, 5, 2, 2, 2],
  'act_fn': 'leaky_relu', 'antialias': False, 'final_act_fn': 'tanh', 'final_bias': True,
  'output_sampling_rate': 24_000,
}  # fmt: skip
_SNAKE: Config = {
  **_SPEAKER, 'act_fn': 'snakebeta', 'antialias': True, 'final_act_fn': None, 'final_bias': False,
}  # fmt: skip
_EXTENSION: Config = {
  **_SNAKE, 'hidden_channels': 512, 'upsample_kernel_sizes': [12, 11, 4, 4, 4],
  'upsample_factors': [6, 5, 2, 2, 2],
}  # fmt: skip
_NEWER_VOCODER: Config = {
  '_class_name': 'LTX2VocoderWithBWE', **_SNAKE, 'hidden_channels': 1536,
  'upsample_kernel_sizes': [11, 4, 4, 4, 4, 4], 'upsample_factors': [5, 2, 2, 2, 2, 2],
  **{f'bwe_{name}': value for name, value in _EXTENSION.items()},
  'filter_length': 512, 'hop_length': 80, 'window_length': 512, 'num_mel_channels': 64,
  'input_sampling_rate': 16_000, 'output_sampling_rate': 48_000,
}  # fmt: skip

ONE_STEP: Config = {  # the decoder of pictures that 2.5 has beside the convolutional one
  '_class_name': ltx2_one_step.CLASS, 'out_channels': 3, 'latent_channels': 128,
  'patch_size': 4, 'decoder_head_dim': 64,
  'decoder_stage_channels': [2048, 1024, 512, 512, 256], 'decoder_stage_depths': [4, 6, 4, 2, 8],
  'decoder_stage_kernels': [[3, 7, 7], [3, 7, 7], [3, 5, 5], [3, 5, 5]],
  'decoder_upsample_strides': [[1, 2, 2], [2, 1, 1], [2, 2, 2], [2, 2, 2]],
  'decoder_upsample_channel_reductions': [2, 2, 1, 2], 'decoder_stage5_kernel': [11, 11, 11],
  'decoder_t_emb_dim': 384, 'decoder_timestep_scale_multiplier': 1000.0,
  'decoder_model_output_type': 'x0', 'decoder_num_inference_steps': 1,
  'spatial_compression_ratio': 32, 'temporal_compression_ratio': 8,
}  # fmt: skip

_OLDER = {
  'connectors': _OLDER_CONNECTORS, 'vae': _OLDER_VIDEO, 'audio_vae': _AUDIO,
  'vocoder': _OLDER_VOCODER,
}  # fmt: skip
_NEWER = {
  'connectors': _NEWER_CONNECTORS, 'vae': _NEWER_VIDEO, 'audio_vae': _AUDIO,
  'vocoder': _NEWER_VOCODER,
}  # fmt: skip
_CONFIGS: Mapping[str, Mapping[str, Config]] = {
  '2.0': {'transformer': _TRANSFORMER, **_OLDER},
  '2.3': {'transformer': _NEWER_TRANSFORMER, **_NEWER},
  '2.5': {'transformer': _NEWEST_TRANSFORMER, **_NEWER},
}
SCHEDULER: Config = {
  '_class_name': 'FlowMatchEulerDiscreteScheduler', 'base_image_seq_len': 1024,
  'base_shift': 0.95, 'max_image_seq_len': 4096, 'max_shift': 2.05, 'num_train_timesteps': 1000,
  'shift': 1.0, 'shift_terminal': 0.1, 'time_shift_type': 'exponential',
  'use_dynamic_shifting': True,
}  # fmt: skip


def configs_of(version: str, text: Mapping[str, Any] | None = None) -> dict[str, Config]:
  """Part → what its config.json says.

  Args:
    version: one of `VERSIONS`.
    text: config.json of the text encoder, whose size the connectors depend on; None for that of
      Gemma with 12 billion parameters.

  Raises:
    UserError: a version that is not known, or a text encoder that is no Gemma.
  """
  if version not in _CONFIGS:
    raise UserError(f'no LTX-2 is called {version!r}; choose one of {", ".join(VERSIONS)}')
  made = {part: dict(config) for part, config in _CONFIGS[version].items()}
  if text is not None:
    own = gemma.config_of(text)
    made['connectors'] |= {'caption_channels': own.width, 'text_proj_in_factor': own.layers + 1}
  return made


def index_of(vocoder: str, text_encoder: str, tokenizer: str) -> Config:
  """What the model_index.json says, by the names of classes that differ."""
  return {
    '_class_name': 'LTX2Pipeline',
    'audio_vae': ['diffusers', _AUDIO['_class_name']],
    'connectors': ['ltx2', _CONNECTORS['_class_name']],
    'scheduler': ['diffusers', SCHEDULER['_class_name']],
    'text_encoder': ['transformers', text_encoder],
    'tokenizer': ['transformers', tokenizer],
    'transformer': ['diffusers', ltx2_transformer.CLASS],
    'vae': ['diffusers', _VIDEO['_class_name']],
    'vocoder': ['ltx2', vocoder],
  }
