"""Portcullis: a policy decision point whose every failure is a denial.

Importing this package imports nothing else: the client ships in the same
distribution and must stay light.
"""

__version__ = "0.1.0"
