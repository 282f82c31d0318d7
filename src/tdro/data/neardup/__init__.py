"""Near-duplicates among many texts. A closed room: others import `near_duplicates` only.

near_duplicates.py  Near-duplicates among many short texts: the same question written twice, and not another question
                    of the same form.
same_words.py       How the words of two texts differ, and whether that makes another question of one.
shared_keys.py      Which of many texts may be near-duplicates: those that share a key, found without comparing all
                    pairs.
words.py            Texts as words, for comparing them: as strings where two texts are compared, as 64-bit hashes
                    where millions are.
"""
