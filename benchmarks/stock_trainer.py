"""sentence-transformers' own trainer, as the benchmarks run it beside tdro: the same rows in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch.utils.data import BatchSampler, SequentialSampler
from transformers import PrinterCallback, TrainerCallback

from tdro.machine import Machine


class StockInOrder(SentenceTransformerTrainer):
    """The stock trainer; only the order of the rows is given, so that all contestants read the same batches."""

    def _get_train_sampler(self, *args: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **kwargs: Any) -> Any:
        """Whole batches in order."""
        return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


def train_stock(
    model: SentenceTransformer,
    loss: torch.nn.Module,
    rows: Dataset,
    steps: int,
    batch: int,
    machine: Machine,
    folder: Path | str,
    clock: TrainerCallback,
) -> None:
    """Train with the stock trainer, a constant learning rate of 1e-4 and tdro's weight decay; nothing is saved."""
    trainer = StockInOrder(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            weight_decay=0.1,
            bf16=machine.bf16,
            use_cpu=machine.device == "cpu",
            seed=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        loss=loss,
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
