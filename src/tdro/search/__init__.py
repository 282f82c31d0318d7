"""Search below mining and evaluation: embeddings on disk, exact top-k, BM25.

embedding_store.py  Embeddings on disk: encoded once per model and text, in parts, and read back memory-mapped.
exact.py            Exact search: every passage is compared with every query, block by block, and the k best so far
                    are kept.
"""
