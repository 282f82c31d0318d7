"""Hard negatives: passages that look like a query's answer and are not.

answer_copies.py     Which passages are a row's answers in another wrapping (:mod:`tdro.data.same_answer`), among its
                     candidates.
bm25_candidates.py   Candidates by BM25: searched with the row's query *and* its first positive.
choose_negatives.py  From a row's ranked candidates to its negatives: ranks, chance, and passages that no search
                     found.
corpus.py            More passages to choose negatives from: a BEIR folder's corpus, a JSONL file, or plain text.
dense_candidates.py  Candidates by an embedding model: exact search by its own similarity, margins and answers taken
                     out meanwhile.
mine_files.py        ``tdro data mine``: a mixture or data files in, a new mixture with hard negatives and samples of
                     them out.
mine_task.py         Hard negatives for the rows of a task that have fewer than they should: searched for, picked, and
                     kept on disk.
mining_settings.py   What to mine, as a value: the recipe's keys and the command's options both become it.
task_passages.py     The passages that negatives come from, each text once, and which of them are answers of a row.
"""
