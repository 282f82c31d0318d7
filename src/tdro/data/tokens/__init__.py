"""A mixture as numbers: each text once, tokenized once, mapped from disk.

cut_warnings.py   What is cut away, in words: limits that a model cannot keep, and tasks of which much is lost.
cuts.py           What a recipe's limits cut away of a task's texts, and how many texts become the same by it.
index_files.py    A mixture's index on disk: made by one process, mapped by all.
limits.py         How much of a text a model reads, and where a row of tokens is cut.
mixture_index.py  The mixture as numbers: every distinct text once, and each row as positions of its texts.
stored_texts.py   A mixture's texts where they are: in the tasks' Arrow tables, mapped from disk, and read when
                  somebody asks for some.
text_numbers.py   Equal texts get equal numbers, and none of them is held in memory.
token_files.py    Tokens on disk: written as they come by one process, mapped by all that read them.
tokenize.py       Texts tokenized once, kept as flat arrays, and put together to model inputs without a tokenizer.
"""
