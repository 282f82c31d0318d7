"""Training data: how it is read, checked, deduplicated, counted, and laid out as the rows that each step reads.

task.py          A task (one training data set), a test set, and a mixture of both.
same_text.py     When two texts count as the same, for leaks between training and test and for false negatives.
same_answer.py   When two passages are the same answer in another wrapping, so that one cannot be a negative.
search_words.py  The words of a text that BM25 counts, by one rule for every language.
"""
