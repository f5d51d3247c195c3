"""Bad inputs by the thousand, and analyses killed at random moments: what the readers and the output folder
must survive.

``python -m Testing.faults --count 10000 --output faults.json`` and ``python -m Testing.faults.kills --count
200``.
"""
