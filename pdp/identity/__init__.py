"""Who is asking, and who we are."""
