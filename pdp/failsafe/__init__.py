"""The fail-safe conformance kit: a PDP that misbehaves on command, and a judge of those who ask it.

`pdp failsafe` drives a client through a small adapter. The peers here would all
permit if they were not broken, so a client that overlooks a fault shows it by permitting.

    answers          messages with one thing wrong
    scripted_pdp     the process that gives them, as it is told by the name of the action
    firing_range     its certificates, good and bad, and those of a client
    listeners        sockets that misbehave by themselves
"""
