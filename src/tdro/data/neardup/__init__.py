"""Near-duplicates among many texts. A closed room: other rooms import ``near_duplicates.py`` only.

near_duplicates.py  Finds the near-duplicates among many short texts: the same question written twice.
shared_keys.py      Finds the pairs of texts that may be near-duplicates, without comparing all pairs.
same_words.py       Decides whether the words in which two texts differ make two questions of them.
words.py            The words of a text: as strings to compare two texts, as 64-bit hashes for millions.
"""
