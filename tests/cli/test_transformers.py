"""A model of transformers from the shell: run, load, verify and export with nothing but the delivered folder."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

import ranksearch
from ranksearch.errors import InputError, MismatchError

transformers = pytest.importorskip("transformers")

Invoke = Callable[..., Result]

WORDS = ["[PAD]", "[UNK]", *(f"w{k}" for k in range(30))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small BERT, its tokeniser, and texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path_factory.mktemp("transformers")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(
        **sizes, intermediate_size=64, vocab_size=len(WORDS), max_position_embeddings=16
    )
    transformers.BertModel(config).save_pretrained(place / "bert")
    known = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=known, unk_token="[UNK]", pad_token="[PAD]", model_max_length=16
    ).save_pretrained(place / "bert")
    (place / "bert" / "1_Pooling").mkdir()
    (place / "bert" / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    drawn = random.Random(0)
    lines = [" ".join(drawn.choices(WORDS[2:], k=drawn.randint(3, 9))) for _ in range(80)]
    (place / "texts.txt").write_text("\n".join(lines))
    return place


@pytest.fixture(scope="module")
def delivered(place: Path, invoke: Invoke) -> Path:
    """What a run delivers; the dense model's folder is gone when it is looked at."""
    words = ["--model", f"transformers:{place / 'bert'}", "--data", f"text:{place / 'texts.txt'}"]
    words += [
        "--loss",
        "cosine",
        "--budget",
        "0.7",
        "--ignore",
        "pooler.*",
        "--epochs",
        "0",
        "--device",
        "cpu",
    ]
    out = place / "run"
    made = invoke("run", *words, "--cache", "none", "--quiet", "--out", out)
    assert made.exit_code == 0, made.output
    shutil.copytree(out / "compressed" / "0.7", place / "sent")
    return place / "sent"


def test_a_sentence_encoder_is_pooled_as_its_folder_says(delivered: Path, place: Path) -> None:
    assert "pool: the mean of the positions counts" in (place / "run" / "log.txt").read_text()
    assert (delivered / "transformers" / "1_Pooling" / "config.json").is_file()


def test_the_folder_alone_makes_the_model(delivered: Path) -> None:
    model = ranksearch.load(delivered)
    assert type(model) is transformers.BertModel
    tokenizer = transformers.AutoTokenizer.from_pretrained(delivered / "transformers")
    inputs = tokenizer(["w1 w2 w3", "w4"], padding=True, return_tensors="pt")
    assert model(**inputs).last_hidden_state.shape == (2, 3, 32)
    assert any("0" in name.split(".") for name, _ in model.encoder.layer[0].attention.named_modules())


def test_it_is_verified_and_exported_by_its_folder_alone(
    delivered: Path, place: Path, invoke: Invoke
) -> None:
    checked = invoke("verify", delivered)
    assert checked.exit_code == 0, checked.output
    measured = invoke("verify", place / "run", "--data", f"text:{place / 'texts.txt'}")
    assert measured.exit_code == 0, measured.output


def test_exported_files_take_texts_of_any_length(delivered: Path, invoke: Invoke, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = shutil.copytree(delivered, tmp_path / "sent")
    made = invoke("export", folder, "--to", "onnx,pt2")
    assert made.exit_code == 0, made.output
    ids, real = torch.randint(2, 32, (3, 13)), torch.ones(3, 13, dtype=torch.int64)
    real[0, 5:] = 0
    model = ranksearch.load(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = {one.name for one in session.get_inputs()}
    inputs = {"input_ids": ids, "attention_mask": real, "token_type_ids": torch.zeros_like(ids)}
    inputs = {name: tensor for name, tensor in inputs.items() if name in names}
    wanted = model(**inputs).last_hidden_state[real.bool()]
    found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
    assert torch.allclose(torch.from_numpy(found)[real.bool()], wanted, atol=1e-4)
    program = torch.export.load(folder / "model.pt2").module()
    assert torch.allclose(program(**inputs).last_hidden_state[real.bool()], wanted, atol=1e-4)


def test_what_the_card_says_runs(
    delivered: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    folder = shutil.copytree(delivered, tmp_path / "sent")
    assert invoke("export", folder, "--to", "onnx,pt2").exit_code == 0
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(folder)
    for block in blocks:
        assert "inputs = {  # any batch size" in block
        exec(block.replace("path/of/this/folder", str(folder)), {})


def test_its_config_is_among_the_checksums(delivered: Path, tmp_path: Path, invoke: Invoke) -> None:
    changed = shutil.copytree(delivered, tmp_path / "changed")
    config = changed / "transformers" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    assert invoke("verify", changed).exit_code == 2
    with pytest.raises((InputError, MismatchError)):
        ranksearch.load(changed)


def test_the_card_says_how_it_is_loaded(delivered: Path) -> None:
    card = (delivered / "README.md").read_text()
    assert "ranksearch.load('path/of/this/folder')(**inputs)" in card
    assert "`from_pretrained` of transformers cannot load the model" in card
    assert str(delivered.parent) not in card


def test_plain_transformers_does_not_take_it_for_a_model_of_its_own(delivered: Path) -> None:
    for folder in (delivered, delivered / "transformers"):
        with pytest.raises((OSError, ValueError)):
            transformers.AutoModel.from_pretrained(folder, local_files_only=True)


def test_a_model_handed_in_is_kept_in_the_same_way(place: Path, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(place / "bert")
    sentences = [
        {"input_ids": torch.randint(2, 32, (6,)), "attention_mask": torch.ones(6, dtype=torch.int64)}
        for _ in range(24)
    ]
    task = ranksearch.Task(model, sentences, loss="cosine", calibration_size=12)
    result = ranksearch.search(task, budget=0.7)
    compressed = ranksearch.compress(task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    ranksearch.save(tmp_path / "small", task, result, compressed)
    wanted = compressed.model(**task.example).last_hidden_state
    found = ranksearch.load(tmp_path / "small")(**task.example).last_hidden_state
    assert torch.allclose(found, wanted, atol=1e-5)
    content = json.loads((tmp_path / "small" / "transformers" / "config.json").read_text())
    assert content["architectures"] == ["BertModel"]
