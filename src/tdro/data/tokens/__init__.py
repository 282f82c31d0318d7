"""A mixture as numbers: each distinct text once, tokenized once, memory-mapped from disk.

mixture_index.py  The index: every distinct text once, and each row as the numbers of its texts.
text_numbers.py   Gives equal texts equal numbers, without holding them in memory.
stored_texts.py   The texts themselves, which stay in the tasks' Arrow files and are read on demand.
index_files.py    The index on disk: made by one process, mapped by all.
tokenize.py       Tokenizes every text once into flat arrays, and makes model inputs of them without a tokenizer.
token_files.py    The tokens on disk: written by one process, mapped by all.
limits.py         How many tokens of a text a model reads, and where they are cut.
cuts.py           How much of a task's texts is cut away, and how many become equal by it.
cut_warnings.py   Says in words what is cut away: limits a model cannot keep, tasks of which much is lost.
"""
