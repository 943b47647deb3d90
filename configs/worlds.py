"""The generated world, 64×64: bodies that fall, bounce and sound of what they are made of; speech.

  python launch/encode.py --config=configs/worlds.py --input=world:24000 --output=LATENTS
  python launch/train.py --config=configs/worlds.py --config.data.path=LATENTS --workdir=RUN
  python launch/evaluate.py --checkpoint=RUN --out=REPORT

Four seconds are 52 tokens of picture and 52 of sound, by the codec `world`, whose picture half
configs/world_codec.py made and whose sound half is fitted.
Hardware: 2 CPU cores, a day. The model `world`, which comes along, took seven hours on two with
AVX-512: the same command again and again, products in float32 but for the last two, with
  1. --config.flow.std=1 --config.flow.uniform=0.2 --config.train.tasks.text_to_clip=0.35, killed
     after 654 steps;
  2. --config.flow.mean=4 --config.flow.uniform=0 and the tasks video_to_audio=0.6 and
     audio_to_video=0.4 alone, killed after 1279: so it learned to hear the picture;
  3. --config.train.tasks.text_to_clip=0.35 --config.train.steps=7400;
  4. --config.train.steps=16200 --config.optimizer.decay_share=0.25;
  5. from the weights of the fourth (--config.start), in a workdir of its own,
     --config.data.buckets.clip.rows=32 --config.optimizer.matrix_rate=0.012
     --config.optimizer.learning_rate=6e-4 --config.optimizer.warmup_steps=50
     --config.optimizer.decay_share=0.85 --config.train.steps=3000, killed after 879, then with
     steps=2400, killed after 1133, then with steps=2000;
  6. from the weights of the fifth, in a workdir of its own, --config.flow.weight.video=4.0
     --config.data.buckets.clip.rows=64 --config.optimizer.learning_rate=1e-3
     --config.optimizer.warmup_steps=50 --config.optimizer.decay_share=0.7
     --config.train.steps=2000, on two cores with AMX.
Expect: a held-out loss of 1.04 after the third and 0.90 after the fourth; of 0.93 before and 0.90
after the fifth, on twice as many clips, since its batches hold more; predicting the mean costs
7.00. In the sixth, on as many clips again, the picture's goes from 0.285 to 0.267 and the sound's
from 0.149 to 0.145, which makes 0.88 and 0.84 in the weights of the goes before.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name, c.trained = 'worlds', 'world'  # --config.trained= fits a linear codec instead
  c.prepare.frames = (49,)
  c.codec.update(
    stride=(4, 32, 32), video_channels=128, frame_samples=160, group=8, mels=80, audio_channels=96,
    floor=1e-3, audio_whiten=0.25, audio_rms=0.5,  # a strike is seen, then heard
  )  # fmt: skip
  c.data.buckets.clip.update(rows=16, video=52, audio=52, text=64)
  c.text.update(kind='words', max_tokens=64)  # one caption in twenty has more and is cut
  c.transformer.streams.audio.update(width=192, head_dim=48, hidden=768)
  c.transformer.update(aligned=2.0, cross_rope_theta=10.0)
  c.transformer.matmul_precision = 'bfloat16'
  c.transformer.remat = 'dots'  # faster on a CPU: less is written and read again
  # What one stream tells of the other it tells where little else does: near noise.
  c.flow.update(std=1.3, shift=1.5, together=0.5, weight={'video': 1.0, 'audio': 4.0})
  c.optimizer.update(
    matrix_rate=0.02, matmul_precision='bfloat16', warmup_steps=200, decay_share=0.3, ema=0.998
  )
  c.train.tasks.update(text_to_clip=1.0, video_to_audio=0.3, audio_to_video=0.15)
  c.train.update(steps=60_000, log_every=20, evaluate_every=500, save_every=100)
  # First the picture, away from one whose tokens do not see each other in a layer, then the sound.
  c.sample.update(seconds=4.0, steps=16, skip_layers=(3,))
  c.sample.wait.audio, c.sample.skip_guidance.video = 16, 1.0
  return c
