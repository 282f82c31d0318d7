"""Search, for mining and evaluation: embeddings on disk, exact search with them, and BM25.

bm25.py             BM25: scores passages by the words that they share with a query. Mining and the BM25 baseline both
                    search with it.
embedding_store.py  Embeddings on disk: each text is encoded once per model, in parts, and read back memory-mapped.
exact.py            Exact search: compares every query with every passage, block by block, and keeps the k best
                    passages so far.
"""
