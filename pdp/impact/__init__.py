"""What a change of policies does: two editions side by side, and requests through both.

For authors and reviewers. Nothing here signs, serves or writes.
"""
