"""Learns task weights inside a stock SentenceTransformerTrainer: mixed batches, the reference scored live.

Three made-up tasks: "same" asks for the query's own words, which any model can do; "other" for a translation
of them, which has to be learnt; what "noise" asks for is drawn. The headroom is in "other": its weight grows.
"""

import copy
import random

import sentence_transformers as st
from datasets import Dataset
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from tdro import TDROCallback, TDROLoss, WeightLearner

TASKS = ["same", "other", "noise"]


def row(draw: random.Random, task: int) -> dict[str, str | int]:
    query = draw.choices(range(200), k=4)
    positive = [query, [200 + word for word in query], draw.choices(range(400), k=4)][task]
    negative = draw.choices(range(400), k=4)
    texts = [query, *(words + draw.choices(range(400), k=4) for words in (positive, negative))]
    columns = zip(("query", "positive", "negative"), texts, strict=True)
    return {name: " ".join(map(str, words)) for name, words in columns} | {"label": task}


def train(model: st.SentenceTransformer, loss, steps: int, seed: int, callbacks=None):
    rows = Dataset.from_list([row(random.Random(f"{seed} {i}"), i % len(TASKS)) for i in range(6000)])
    args = st.SentenceTransformerTrainingArguments(
        "output", max_steps=steps, per_device_train_batch_size=96, learning_rate=0.02, save_strategy="no"
    )
    st.SentenceTransformerTrainer(model=model, args=args, train_dataset=rows, loss=loss, callbacks=callbacks).train()


words = Tokenizer(models.WordLevel({str(i): i for i in range(400)}, unk_token="0"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
proxy = st.SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=64)])
reference = copy.deepcopy(proxy)
train(reference, MultipleNegativesRankingLoss(reference), steps=200, seed=1)
learner = WeightLearner(TASKS, eta=0.1)
loss = TDROLoss(proxy, learner, reference, temperature=0.05, offset=1.0)
train(proxy, loss, steps=100, seed=2, callbacks=[TDROCallback(loss)])  # the weights are in any checkpoint, too
learner.mean.save("weights.json")
print(learner.mean)
