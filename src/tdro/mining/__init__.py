"""Mines hard negatives: passages that look like a query's answer and are not.

A mixture (``mine_mixture.py``) is mined task by task (``mine_task.py``): candidates are found (``*_candidates.py``),
then some of them become a row's negatives (``choose_negatives.py``).

answer_copies.py     Finds, among a row's candidates, copies of its answers: with a title before them, cut off, or
                     spaced differently.
bm25_candidates.py   Candidates by BM25: passages that share rare words with a row's query or with its first positive.
choose_negatives.py  From the ranked candidates of a row to its negatives: the best ones, some at random, some from
                     all passages.
corpus.py            More passages to choose negatives from: a BEIR folder's corpus, a JSONL file, or plain text.
dense_candidates.py  Candidates by an embedding model: the passages most similar to a row's query, found by exact
                     search.
embedder.py          The embedding model that finds candidates: how it is loaded, with which prompts, and where its
                     embeddings are kept.
mine_files.py        ``tdro data mine``: reads a mixture or data files, writes a new mixture with hard negatives and
                     samples of them.
mine_mixture.py      Mines all tasks of a mixture and keeps each finished task on disk, so that a kill loses one task
                     at most.
mine_task.py         Fills the negatives of one task's rows.
mining_settings.py   What to mine: the settings that a recipe's ``data.negatives`` and the options of ``tdro data
                     mine`` both become.
task_passages.py     The passages of a task that negatives are chosen from, and which of them are answers of which
                     row.
"""
