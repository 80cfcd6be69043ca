"""Owns every message, durably, and the search over them. Calls no language model.

The database is the truth: messages, and one vector a message. What is held in memory beside it (one exact index
a user) is a cache that is rebuilt from rows.
"""
