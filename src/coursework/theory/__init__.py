"""The numeric check behind each proof of the theory questions: one module per question.

A claim stands as a decorator above its check, with wrong versions, as they are often seen, that the check
must refute: it takes the object that it tests as an argument, so that a wrong one can be put in its place.
"""
