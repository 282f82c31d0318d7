"""Search below mining and evaluation: embeddings on disk, exact top-k, BM25.

bm25.py             BM25: scores passages by the words that they share with a query. Mining and the BM25 baseline both
                    search with it.
embedding_store.py  Embeddings on disk: encoded once per model and text, in parts, and read back memory-mapped.
exact.py            Exact search: every passage is compared with every query, block by block, and the k best so far
                    are kept.
"""
