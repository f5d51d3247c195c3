"""Many exams: a worklist in, a result folder an exam and one table out, on one computer or a cluster.

``worklist`` makes jobs, ``task`` does one of them, ``local`` and ``cluster`` do many at once, ``records``
remembers what became of each, ``summary`` and ``page`` show it. ``command`` puts them together.
"""
