"""Learn task weights inside a stock SentenceTransformerTrainer.

    python examples/plug_into_your_trainer.py

The script makes up three tasks, so it runs anywhere in seconds:

- "same": the positive has the query's own words. Any model can do this.
- "other": the positive is a translation of the query's words. This has to be learned.
- "noise": the positive is drawn at random. This cannot be learned.

So only "other" has headroom, and its weight grows. Batches mix all tasks; each row's label is the number of its task.
A reference model is trained first; the loss scores it on the same rows as the training goes.
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
    """A row of a task: numbers below 200 are words of one language, number + 200 is the same word in the other."""
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


# The proxy and the reference: static embeddings of 400 words, equal at the start.
words = Tokenizer(models.WordLevel({str(i): i for i in range(400)}, unk_token="0"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
proxy = st.SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=64)])
reference = copy.deepcopy(proxy)
# The reference is trained on all tasks equally.
train(reference, MultipleNegativesRankingLoss(reference), steps=200, seed=1)
# tdro: the learner holds the weights, and the loss moves them once a step.
learner = WeightLearner(TASKS, eta=0.1)
loss = TDROLoss(proxy, learner, reference, temperature=0.05, offset=1.0)
train(proxy, loss, steps=100, seed=2, callbacks=[TDROCallback(loss)])  # keeps the weights in checkpoints
learner.mean.save("weights.json")
print(learner.mean)
