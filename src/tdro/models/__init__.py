"""Models: a base becomes an embedder, texts become vectors, a trained model becomes a folder.

adapters.py        Low-rank adapters: put on a model, and whether they do anything.
base.py            A base model becomes an embedder: static, decoder or encoder, a plain sentence-transformers folder.
base_notes.py      What training does not take over from a base model: refused, or said in a line, before anything is
                   trained.
base_tokens.py     A base model's tokens, and how many of them it reads, told from its files: no weight is read.
cpu_attention.py   The attention kernel that is fast for short texts on a CPU.
cpu_linear.py      Linear layers whose weights are brought into the CPU's own order once, not with every batch.
decoder.py         A causal language model becomes an embedder: first layers, EOS after every text, last-token
                   pooling.
encode.py          Embed many texts that were tokenized once, length-sorted, in batches of equal numbers of tokens.
fingerprint.py     What an embedder really does: does the end of the text reach the pool? And what it is, by content.
gguf_file.py       A GGUF file is parsed once while a model is read from it, and not three times.
kinds.py           Which kind of model lies somewhere, from its files alone, so that one that is no embedder is
                   refused before any work.
own_encode.py      Which models have to embed their texts by their own ``encode``, because tokens made once would not
                   give the same.
prompts.py         The prompts that a trained model keeps, so that ``encode(query, prompt_name=...)`` gives what
                   training fed it.
saving.py          A trained model becomes a folder that anybody can load: as it was trained, and its adapters alone
                   or merged.
similarity.py      How near a model says that two texts are: by its own function, whatever that is.
source_content.py  What a model's source holds: a key for the base that is built from it.
unwrapped.py       The model inside what trainers put around it: data parallelism, torch.compile.
"""
