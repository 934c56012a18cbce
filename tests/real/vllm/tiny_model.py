"""Makes the folder of a tiny Llama for `vllm serve --load-format dummy`: everything but the weights.

Run with an interpreter that has `tokenizers`: `python tiny_model.py FOLDER`.  The weights are left to vLLM,
which fills them with noise: what such a model says is senseless, how vLLM says it is real, and guided
decoding (`structured_outputs`) makes it say what a test wants.  Nothing is downloaded: the vocabulary is
learnt from the sources of Python's standard library.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore[import-not-found]

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 2048
CONTEXT = 65536
CORPUS_FILES = 100
"""So many modules teach enough English and Python for a vocabulary of this size in a second or two."""

ARCHITECTURE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "torch_dtype": "bfloat16",
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": CONTEXT,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}


def learn_vocabulary() -> Tokenizer:
    """A byte-level BPE tokenizer: it can spell any text, so no input is unknown to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:CORPUS_FILES]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in corpus], trainer)
    return tokenizer


def write_model(folder: Path) -> None:
    """Write the model's files into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = learn_vocabulary()
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    tokenizer.save(str(folder / "tokenizer.json"))
    documents = {
        "config.json": ARCHITECTURE
        | {
            "vocab_size": tokenizer.get_vocab_size(),
            "bos_token_id": pad,
            "eos_token_id": end,
            "pad_token_id": pad,
        },
        "generation_config.json": {"eos_token_id": end, "pad_token_id": pad},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONTEXT,
            "bos_token": None,
            "eos_token": END,
            "pad_token": PAD,
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1))
    template = Path(__file__).with_name("chat_template.jinja")
    (folder / template.name).write_bytes(template.read_bytes())


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
