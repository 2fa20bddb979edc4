"""Load on a running service, from outside: nothing here imports the service, which a test makes sure of.

openloop/       rates to saturation, open loop, through locust, with a report (make loadtest)
bench.py        the service beside bare vLLM with the same engine arguments, in alternating rounds (make bench)
one_gpu.py      all of it for one GPU, in twelve minutes
streams.py      bench's load client, a closed loop; what an event of a stream means
relay.py        all but the model, with a programmed one: tokens per second, CPU per token, memory (make bench-relay)
paced.py        its load client
relay_report.py its table, JSON and exit status
sides.py        the service on free ports, and what its processes take
bare_vllm.py    vLLM's own server on a free port
report.py       the bench's table, JSON and exit status; plot.py draws the picture
machine.py      where a measurement was taken
page_sessions.py what many open chat pages cost; browsers.py is their side
results/        what was measured
"""
