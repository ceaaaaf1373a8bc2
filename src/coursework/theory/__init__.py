"""The numeric check behind each proof of the theory questions: one module per question.

A claim stands as a decorator above its check, with wrong versions that the check must refute. A check
takes the object that it tests as an argument wherever that is possible, so that a wrong version can be
put in its place. :mod:`.claims` lists all of them; :mod:`.cost` counts arithmetic and memory.
"""
