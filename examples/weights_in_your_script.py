"""A stock sentence-transformers script that draws its batches by learned weights.

    python examples/weights_in_your_script.py [MODEL] [WEIGHTS.json]

Only the three lines marked "tdro" differ from a stock script. Without arguments, the script trains static embeddings
on made-up text, so it runs anywhere in seconds.

The names in the weights are the keys of the DatasetDict. With torchrun on several GPUs, all GPUs read the same data
set at each step.
"""

import random
import sys
from tempfile import mkdtemp

from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from tokenizers import Tokenizer, models, pre_tokenizers

from tdro import WeightedTaskSampler  # tdro 1 of 3

WORDS = [f"word{i}" for i in range(500)]


def made_up(rows: int, seed: int) -> Dataset:
    """Queries whose positive repeats their words among others."""
    draw = random.Random(seed)
    queries = [draw.choices(WORDS, k=4) for _ in range(rows)]
    positives = [" ".join(query + draw.choices(WORDS, k=8)) for query in queries]
    return Dataset.from_dict({"query": [" ".join(query) for query in queries], "positive": positives})


def static_embeddings() -> SentenceTransformer:
    """A model that needs no download: one vector for each word."""
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=64)])


train_dataset = DatasetDict({"questions": made_up(900, 1), "titles": made_up(300, 2), "code": made_up(150, 3)})
weights = sys.argv[2] if sys.argv[2:] else {"questions": 0.5, "titles": 0.2, "code": 0.3}  # tdro 2 of 3
model = SentenceTransformer(sys.argv[1]) if sys.argv[1:] else static_embeddings()
args = SentenceTransformerTrainingArguments(
    output_dir=mkdtemp(),
    max_steps=100,
    per_device_train_batch_size=32,
    learning_rate=2e-5 if sys.argv[1:] else 1e-2,
    batch_sampler=BatchSamplers.NO_DUPLICATES,
    multi_dataset_batch_sampler=WeightedTaskSampler.using(weights, 100, names=train_dataset),  # tdro 3 of 3
    logging_steps=20,
    save_strategy="no",
    report_to="none",
)
trainer = SentenceTransformerTrainer(
    model=model, args=args, train_dataset=train_dataset, loss=MultipleNegativesRankingLoss(model)
)
trainer.train()
model.save_pretrained(args.output_dir)
print(f"saved in {args.output_dir}")
