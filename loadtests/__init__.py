"""Load on a running service, from outside: nothing here imports the service.

locustfile.py   users that stream, converse and repeat themselves; shapes.py gives their number over time
compare.py      the service beside bare vLLM with the same engine arguments, in alternating rounds
streams.py      the load client of the comparison
bare_vllm.py    vLLM's own server on a free port
results/        what was measured, as JSON
"""
