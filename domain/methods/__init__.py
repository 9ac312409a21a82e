"""What a course of ratings shows by a named method, and when it shows nothing.

One method per file. Each is a pure function of a series and its parameters; `catalogue.py` is the
closed list of them, `card.py` the form in which each answers, `series.py` what it is asked about.
"""
