"""Holds one model and streams what it generates. Knows no user, no conversation and no database.

A request walks `servicer` (proto ↔ domain) → `admission` (a place among the running) → `engine` (tokens to text).
"""
