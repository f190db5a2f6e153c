"""Providers of attributes that callers do not send: where they are, and how they are asked.

A bundle names them (`pdp.provided`), the operator configures them, and only the operator:
URLs, credentials, statements and entry points are in no bundle.
"""
