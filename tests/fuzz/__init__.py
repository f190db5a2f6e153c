"""Texts and bytes that nobody meant well."""
