"""Notebooks run, results condensed, writeup and site made."""
