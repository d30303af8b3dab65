"""Ranks of a transformers model: names are those of the model's own modules, in and out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ranksearch
from ranksearch.interchange import PLAN_EXPORTERS
from ranksearch.tasks import Task
from ranksearch.testing.plan_exporters import carried_out

IN_A_LAYER = {"attention.self.query": 5, "attention.self.key": 4, "intermediate.dense": 8, "output.dense": 9}
RANKS = {f"bert.encoder.layer.{k}.{name}": rank for k in range(2) for name, rank in IN_A_LAYER.items()}


@pytest.fixture(scope="module")
def task() -> Task:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        num_labels=3,
        max_position_embeddings=16,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    whole = torch.ones(8, dtype=torch.long)
    data = [({"input_ids": torch.randint(0, 50, (8,)), "attention_mask": whole}, k % 3) for k in range(48)]
    return Task(model, data, calibration_size=32, batch_size=16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ranks", "peft", "tensorly_torch", "chains"])
def test_a_map_of_ranks_comes_in_and_goes_out(name: str, task: Task, tmp_path: Path) -> None:
    path = tmp_path / "ranks.json"
    path.write_text(json.dumps(RANKS | {"bert.pooler.dense": 3, "classifier": 0}))
    result = ranksearch.read_ranks(path, task)
    found = ranksearch.export_plan(result, name, tmp_path / "out.json", task=task)
    assert found.ranks == {key: (rank,) for key, rank in (RANKS | {"bert.pooler.dense": 3}).items()}
    exporter = PLAN_EXPORTERS.get(name)
    for package in exporter.packages:
        pytest.importorskip(package)
    made = carried_out(exporter, tmp_path / "out.json", task.model)
    assert sum(p.numel() for p in made.parameters()) == found.total
    inputs, _ = next(task.batches("moments", labelled=False))
    assert made(**inputs).logits.shape == (len(inputs["input_ids"]), 3)
