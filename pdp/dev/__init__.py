"""`pdp dev`: everything that a PDP needs, made for one author and thrown away.

The PDP is the one of `pdp serve`: the same keeper verifies the same signatures,
the same server answers, the same spool records. Different is where trust
starts (`pdp.bundle.anchor`): keys and authority are made here, kept for as long
as the command runs, and believed by nothing else.

Reading order: folder (where it all is), cast (whose callers are played), press
(signing), workbench (from a save to a bundle and test outcomes), watching
(what was saved), decisions (a word about every record), question (what to ask
first), news (how all this gets to a screen), session (the order of it).
"""
