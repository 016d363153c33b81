"""Embedding, ranking and the statistics of retrieval."""
