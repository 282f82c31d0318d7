"""`tdro inspect`: what a model is, what tdro would make of it, and what is wrong with it.

look.py         ``inspect_model``: finds out what a source is, and asks one of the three that follow.
decoder.py      The facts of a causal language model, from its configuration and tokenizer, without its weights.
embedder.py     The facts of an embedding model, which is loaded.
adapter.py      The facts of a saved adapter: on which base, and whether it changes anything there.
probes.py       Single questions to a model or tokenizer, answered by trying it or by reading its files.
facts.py        The facts as plain data.
facts_table.py  The facts as a table for a terminal.
"""
