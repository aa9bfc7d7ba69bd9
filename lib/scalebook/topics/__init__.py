"""Algorithms of single chapters that need tests of their own."""
