"""Load on a running service, from outside: nothing here imports the service.

locustfile.py   users that stream, converse and repeat themselves; shapes.py gives their number over time
bench.py        the service beside bare vLLM with the same engine arguments, in alternating rounds (make bench)
streams.py      its load client
sides.py        the service on free ports, and what its processes take
bare_vllm.py    vLLM's own server on a free port
report.py       table, JSON and exit status; plot.py draws the picture
memory.py       what a turn costs in a long conversation, and how often the prefix cache hits
results/        what was measured
"""
