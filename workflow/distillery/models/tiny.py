"""Random models: a tiny Llama or T5 whose tokens are the printable ASCII characters and newline, to test the graph."""

from pathlib import Path
from typing import TYPE_CHECKING

from distillery.config.model import RandomModel

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PRINTABLE = [chr(code) for code in range(32, 127)] + ["\n"]


def random_model(model: RandomModel, folder: Path) -> None:
    """Write the weights and the tokenizer of a random model into `folder`."""
    import torch

    tokenizer = _character_tokenizer(model.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        kind = _random_llama if model.architecture == "causal" else _random_t5
        kind(model, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _character_tokenizer(architecture: str) -> "PreTrainedTokenizerFast":
    """For encoder-decoders a text is put between <bos> and <eos>, as in the vocabulary of CodeT5."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<bos>", "<eos>", "<pad>", "<unk>"]
    vocabulary = {token: number for number, token in enumerate([*specials, *PRINTABLE])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    characters.decoder = decoders.Fuse()
    if architecture == "encoder-decoder":
        characters.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[(token, vocabulary[token]) for token in ("<bos>", "<eos>")]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def _random_llama(model: RandomModel, tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    """A Llama that vLLM serves on CPU (heads of 32)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=model.hidden_size,
        intermediate_size=2 * model.hidden_size,
        num_hidden_layers=model.layers,
        num_attention_heads=model.hidden_size // 32,
        num_key_value_heads=model.hidden_size // 32,
        max_position_embeddings=8192,  # characters, so long prompts; rotary positions cost no weights
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _random_t5(model: RandomModel, tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    """A T5 whose decoder starts from the padding token, as those of T5 and CodeT5 do."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=model.hidden_size,
        d_kv=32,
        d_ff=2 * model.hidden_size,
        num_layers=model.layers,
        num_decoder_layers=model.layers,
        num_heads=model.hidden_size // 32,
        dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return T5ForConditionalGeneration(config)
