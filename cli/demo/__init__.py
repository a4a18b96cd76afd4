"""The demonstration: a small lab of one's own, with an instrument disk that looks like the real thing.

What belongs here: building that lab. What does not: anything the program needs to do its work for a real one.
"""
