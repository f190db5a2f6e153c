"""Several processes on one port that behave as one PDP (docs/adr/0027).

    parent      holds the port, starts the others, starts them again, ends them;
                opens no bundle, no record and no connection
    fetcher     looks at the store, verifies, keeps what verified; takes no calls
    workers     1 to N; each verifies again what was kept, answers, and records in
                a spool of its own

INVARIANT: no process here is believed for what it says. What another process
says decides when something happens (a switch to a bundle that this process has
verified itself, a restart, the end), never what is permitted.

Reading order: order (what a child is told), port, changeover and restarts
(pure), letters (how they talk), child (how one begins and ends), fetcher and
worker, member and parent.
"""
