"""What machines see of a running PDP: counts, times and states, and never of whom or what.

INVARIANT: no label and no name here comes from a question, a token, a
certificate or a header. Labels are words of closed sets in the code; a word
that is not shaped like one is `other`, and each metric has a largest number of
series.

Reading order: figures (what one process has to show), shared (several processes
of one PDP), exposition (the text), endpoint (the port).
"""
