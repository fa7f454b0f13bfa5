"""The engine of all fits: structure, numbers, compiled programs and their outcomes.

What users call is in `everwillow.fitting` and in the packages of inference. The engine
takes flat vectors, and everything that runs a fit goes through it.
"""
