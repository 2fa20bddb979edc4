"""Batches: many requests in a file, answered within a day while others leave room.

types.py        a batch, its lines, what came of them
store.py        what is durable, under leases; postgres.py and memory.py keep it
memory_lines.py a batch in memory, with its lines
validation.py   the lines of an input file, and what is wrong with them
runner.py       the batches that this replica works on: validates, answers, finishes
lines.py        the lines that this replica answers now
pacing.py       spaces the starts of lines
watch.py        the figures of all batches, told by one replica
outcomes.py     a line's answer as it stands in the output
finishing.py    the output files
"""
