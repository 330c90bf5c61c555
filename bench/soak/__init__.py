"""The soak: very many pushes through changing faults, counted on both sides.

`peer` is the server, strict and faulty; `driver` sends; `books` are what either side wrote down, and
their comparison.
"""
