"""lm-eval over HTTP, offline, with the server's own tokenizer: its scores are those of the model itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from serving import Running

from core.checkpoint import model_from_checkpoint

DOCUMENTS = [
    {"question": "Emma is", "choices": ["clever", "rich", "a shop"], "answer": 0},
    {"question": "Anne has", "choices": ["lost", "no"], "answer": 1},
    {"question": "Miss Bates", "choices": ["talks", "is silent", "é"], "answer": 0},
]
SCRIPT = """
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager
url, data = sys.argv[1:]
task = {
    "task": "tiny",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": data}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}],
}
found = lm_eval.simple_evaluate(
    model="local-completions",
    model_args={"model": "step_000000007", "base_url": url + "/v1/completions", "max_length": 128, "num_concurrent": 2},
    tasks=[task],
    task_manager=TaskManager(include_defaults=False),
    batch_size=2,
    log_samples=True,
    bootstrap_iters=0,
)
samples = sorted(found["samples"]["tiny"], key=lambda sample: sample["doc_id"])
print(json.dumps([[[float(score), bool(greedy)] for score, greedy in s["filtered_resps"]] for s in samples]))
"""


def _scored(model: Any, context: bytes, continuation: bytes) -> tuple[float, bool]:
    ids = torch.tensor([list(context + continuation)])
    with torch.no_grad():
        logits = model(ids)[0, len(context) - 1 : -1, :257]
    own = logits.float().log_softmax(-1).gather(1, ids[0, len(context) :, None])[:, 0]
    return float(own.sum()), bool((logits.argmax(-1) == ids[0, len(context) :]).all())


def test_lm_eval_scores_a_task_as_the_model_itself_does(real: Running, talker: Path, tmp_path: Path) -> None:
    data = tmp_path / "tiny.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    offline = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, real.url, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **offline})
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    model, _ = model_from_checkpoint(talker)
    for document, scores in zip(DOCUMENTS, told, strict=True):
        context = str(document["question"]).encode()
        for choice, (score, greedy) in zip(document["choices"], scores, strict=True):  # type: ignore[call-overload]
            expected, is_greedy = _scored(model, context, f" {choice}".encode())
            assert score == pytest.approx(expected, abs=1e-4)
            assert greedy == is_greedy
