"""Models of transformers from folders, with texts and images as their tokenisers and processors make inputs of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksearch.errors import InputError
from ranksearch.networks import call, discover, take_inventory
from ranksearch.rewriting import plain_form
from ranksearch.tasks.sources import (
    TextOptions,
    blank_inputs,
    load_data,
    load_model,
    make_model,
    text_options,
    wishes,
)

transformers = pytest.importorskip("transformers")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "dog",
    "ran",
    "far",
    "away",
]


def save_tokenizer(folder: Path, **tokens: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=known, unk_token="[UNK]", model_max_length=32, **(tokens or {"pad_token": "[PAD]"})
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def bert(**changes: Any) -> Any:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.BertConfig(**sizes, vocab_size=len(WORDS), max_position_embeddings=32, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a small BERT with classes, and its tokeniser."""
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(bert(id2label={0: "bad", 1: "good"}))
    model.save_pretrained(tmp_path / "bert")
    save_tokenizer(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_folder_gives_the_model_of_its_config_with_its_weights(folder: Path) -> None:
    wanted = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    for spec in (f"transformers:{folder}", f"transformers:{folder}:AutoModelForSequenceClassification"):
        model = load_model(spec)
        assert type(model) is type(wanted)
        for name, tensor in wanted.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor)


def test_another_class_takes_its_part_of_the_weights(folder: Path) -> None:
    model = load_model(f"transformers:{folder}:BertModel")
    assert type(model) is transformers.BertModel


def test_half_precision_becomes_single(folder: Path) -> None:
    transformers.BertForSequenceClassification.from_pretrained(folder).bfloat16().save_pretrained(folder)
    told: list[str] = []
    model = load_model(f"transformers:{folder}", tell=told.append)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_architecture_alone_draws_its_weights(folder: Path) -> None:
    torch.manual_seed(1)
    a = make_model(f"transformers:{folder}")
    assert not torch.equal(a.classifier.weight, load_model(f"transformers:{folder}").classifier.weight)


def test_a_head_without_weights_is_no_trained_model(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"weights of BertForMaskedLM, got none for .*BertForSequenceClassif"
    ):
        load_model(f"transformers:{folder}:BertForMaskedLM")


def test_a_pooler_without_weights_is_told(tmp_path: Path) -> None:
    transformers.BertModel(bert(), add_pooling_layer=False).save_pretrained(tmp_path / "m")
    told: list[str] = []
    load_model(f"transformers:{tmp_path / 'm'}", tell=told.append)
    assert told == ["weights: no weights for pooler.dense, which are random"]


def test_a_name_on_the_hub_is_not_fetched() -> None:
    with pytest.raises(InputError, match=r"a local folder with config\.json.*save_pretrained"):
        load_model("transformers:nobody/nothing-of-the-kind")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "bort"}, "Did you mean 'bert'"),
        ({"model_type": None}, "with its model_type"),
        ({"architectures": ["NoModel"]}, "a class of transformers"),
        ({"architectures": ["BertConfig"]}, "a class of transformers"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"hidden_size": "many"}, "bert"),
    ],
)
def test_configs_that_cannot_be_used(folder: Path, changed: dict[str, Any], message: str) -> None:
    content = json.loads((folder / "config.json").read_text()) | changed
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_model(f"transformers:{folder}")


def test_code_that_a_config_names_is_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('run')")
    content = json.loads((folder / "config.json").read_text())
    content["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    content["attn_implementation"] = content["_attn_implementation"] = "somebody/kernel"
    (folder / "config.json").write_text(json.dumps(content))
    model = load_model(f"transformers:{folder}")
    assert model.config._attn_implementation in ("sdpa", "eager")


def test_damaged_weights_are_one_sentence(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="a folder that transformers can load"):
        load_model(f"transformers:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="weights in the folder"):
        load_model(f"transformers:{folder}")


CONFIGS = {
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 16, "n_positions": 16},
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 16,
    },
    "vit": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "swin": {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
    | {"window_size": 4},
    "wav2vec2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "conv_dim": [16, 16],
        "conv_stride": [5, 4],
        "conv_kernel": [10, 4],
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    },
    "whisper": {
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "vocab_size": 16,
        "max_source_positions": 8,
        "num_mel_bins": 8,
        "pad_token_id": 0,
        "decoder_start_token_id": 1,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 16},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_parameter_of_a_kind_of_model_is_accounted_for(tmp_path: Path, kind: str) -> None:
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind])
    config.save_pretrained(tmp_path)
    model = plain_form(make_model(f"transformers:{tmp_path}"))
    inputs = blank_inputs(model)
    assert inputs is not None
    call(model, inputs)
    layers = discover(model, inputs, output=lambda returned: returned[0])
    found = take_inventory(model, layers)
    assert found.total == sum(p.numel() for p in model.parameters())
    assert sum(layer.reason is None for layer in layers) >= 4


def test_a_part_of_a_model_can_be_named(tmp_path: Path) -> None:
    transformers.AutoConfig.for_model("whisper", **CONFIGS["whisper"]).save_pretrained(tmp_path)
    assert type(make_model(f"transformers:{tmp_path}:WhisperEncoder")).__name__ == "WhisperEncoder"


# Texts


def options_of(folder: Path, size: tuple[int, ...] | None = None, *, blocks: bool = False) -> TextOptions:
    return text_options(f"transformers:{folder}", size, blocks=blocks)


def test_lines_are_padded_as_the_tokeniser_does(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the cat sat\n\n  a dog ran far away \n")
    data = load_data("text:t.txt", texts=options_of(folder), test_split=0, base=tmp_path)
    assert len(data.train) == 2  # type: ignore[arg-type]
    assert data.collate is not None
    batch = data.collate([data.train[0], data.train[1]])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    wanted = tokenizer(["the cat sat", "a dog ran far away"], padding=True, return_tensors="pt")
    assert batch.keys() == wanted.keys()
    assert all(torch.equal(batch[key], wanted[key]) for key in batch)


def test_labels_are_those_of_the_config(folder: Path, tmp_path: Path) -> None:
    entries = [{"text": "the cat", "label": "good"}, {"sentence": "a dog", "label": 0}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, entries)))
    data = load_data("jsonl:t.jsonl", texts=options_of(folder, (1,)), test_split=0, base=tmp_path)
    assert [data.train[k]["labels"] for k in range(2)] == [1, 0]
    assert [len(data.train[k]["input_ids"]) for k in range(2)] == [1, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "label": "godo"}', "Did you mean 'good'"),
        ('{"words": "a"}', "text or sentence"),
        ("[1]", "text or sentence"),
        ('{"text": ', "line 2"),
    ],
)
def test_entries_that_cannot_be_used(folder: Path, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 1}\n' + line)
    with pytest.raises(InputError, match=message):
        load_data("jsonl:t.jsonl", texts=options_of(folder), base=tmp_path)


def test_language_models_get_blocks_of_all_texts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "train.txt").write_text("the cat sat on a mat\nand the dog ran\n")
    (tmp_path / "t" / "test.txt").write_text("a cat ran\n")
    data = load_data("text:t", texts=options_of(folder, (3,), blocks=True), base=tmp_path)
    ids = [WORDS.index(word) for word in ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog"]]
    assert torch.stack([data.train[k]["input_ids"] for k in range(3)]).flatten().tolist() == ids
    assert len(data.train) == 3  # type: ignore[arg-type]
    assert len(data.test) == 1  # type: ignore[arg-type]


def test_what_texts_need_is_said(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the cat\n")
    with pytest.raises(InputError, match="a model whose folder has a tokeniser"):
        load_data("text:t.txt", texts=text_options("digits", None, blocks=False), base=tmp_path)
    with pytest.raises(InputError, match=r"Did you mean 't\.txt'"):
        load_data("text:tt.txt", texts=options_of(folder), base=tmp_path)
    with pytest.raises(InputError, match="at most 32"):
        load_data("text:t.txt", texts=options_of(folder, (99,)), base=tmp_path)
    with pytest.raises(InputError, match="one number of tokens"):
        load_data("text:t.txt", texts=options_of(folder, (3, 8, 8)), base=tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="files of a tokeniser"):
        load_data("text:t.txt", texts=options_of(folder), base=tmp_path)


# Images


def test_images_are_prepared_as_the_processor_does(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    processors = {
        "vit": transformers.ViTImageProcessor(size={"height": 16, "width": 16}, resample=2),
        "convnext": transformers.CLIPImageProcessor(size={"shortest_edge": 20}, crop_size=16, resample=3),
    }
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8))
    (tmp_path / "images" / "a").mkdir(parents=True)
    image.save(tmp_path / "images" / "a" / "0.png")
    for name, processor in processors.items():
        processor.save_pretrained(tmp_path / name)
        named = {"id2label": {0: "b", 1: "a"}, "label2id": {"b": 0, "a": 1}}
        transformers.AutoConfig.for_model("vit", **CONFIGS["vit"] | named).save_pretrained(tmp_path / name)
        assert wishes(f"transformers:{tmp_path / name}")["labels"] == {"b": 0, "a": 1}
        from ranksearch.tasks.sources import ImageOptions

        images = ImageOptions(model=wishes(f"transformers:{tmp_path / name}"))
        found = load_data(f"imagefolder:{tmp_path / 'images'}", images=images, test_split=0).train[0][0]
        wanted = processor(image, return_tensors="pt")["pixel_values"][0]
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) < 0.03
