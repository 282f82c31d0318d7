"""Models: a base becomes an embedder, texts become vectors, a trained model becomes a folder.

Building and loading:
base.py            Build a recipe's base model: static, decoder or encoder, as a sentence-transformers folder.
decoder.py         A causal language model becomes an embedder: first layers, EOS after every text, last-token pooling.
load.py            ``load_model``, by which all of tdro loads models.
sources.py         From what a user calls a model to the files that it is read from.
packaged.py        The two models that come out of packages of the Python package index: smollm2 and minilm.
gguf_file.py       Parse a GGUF file once, not three times, while a model is read from it; draw no bar.
adapters.py        Low-rank adapters (LoRA): add them to a model, and find out whether they change anything.
dropout.py         Switch off a model's dropout, wherever its layers keep it.

Knowing what a model is:
kinds.py           Refuse what is no embedding model (rerankers, sparse models, ...), from its files alone.
embedder_check.py  Check, by trying it, that an embedder turns a text into one vector the way training needs it.
base_notes.py      What a base model has that training does not use, told before anything is trained.
base_tokens.py     A base model's tokenizer and longest text, read from its files, without its weights.
fingerprint.py     A key for what a model computes, made from the content of its files.

Using a model:
encode.py          Embed texts that are tokenized already, in batches with little padding.
own_encode.py      Embed texts by the model's own ``encode``, where tokens alone would give something else.
similarity.py      How a model scores a query and a passage: cosine, dot product, distance, or code of its own.
cpu.py             What makes models faster on CPUs alone.
cuda.py            What makes models faster on NVIDIA GPUs alone: attention kernels that take any shape.
unwrapped.py       The model inside the wrappers that trainers put around it.

Saving:
prompts.py         The prompts that a trained model is saved with.
saving.py          Save a trained model as a folder that anybody can load, its adapters alone or merged.
"""
