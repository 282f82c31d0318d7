"""`tdro inspect`: what a model is, found by reading its files and by trying it.

adapter.py      What a saved adapter is, on which base, and whether it changes anything there.
embedder.py     What an embedder is that tdro takes as it is: it is loaded and looked at.
facts.py        What :mod:`tdro.models.inspect.look` finds out about a model: plain data, without the model.
facts_table.py  Facts about a model as a table for a terminal: what was found, what tdro would do, and warnings last.
look.py         What a model is, what tdro would make of it, and what is wrong with it.
probes.py       Questions to a model or tokenizer, each answered by trying it or by reading its files.
"""
