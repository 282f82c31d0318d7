"""Training data: what people have, read, checked, counted, and laid out as the rows that a step reads.

same_answer.py   When two passages are one answer in two wrappings, so that the one is no negative where the other is
                 a positive.
same_text.py     When two texts count as the same: for leaks between training and test, and for negatives that are
                 answers.
search_words.py  The words that BM25 counts, in hard-negative mining and as a baseline alike; one rule for every
                 language.
task.py          A task: one training data set, and the mixture of them.
"""
