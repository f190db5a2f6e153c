"""The directory: which subjects and resources there are, and their attributes. For searches only.

    faults    how it fails
    reading   what a directory can be asked, and asking it in threads, within time
    records   the attributes of one entry, from JSON
    settings  where it is, judged
    documents one JSON file
    tables    two tables of SQLite or PostgreSQL
    opening   settings -> directory

What is in it is the operator's word, as a caller's attributes are the caller's: it grants
nothing by itself. A directory that cannot be read, is slow or holds what it must not is an
error, never a shorter list.
"""
