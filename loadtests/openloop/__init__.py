"""Open-loop load on a running service: how many requests a second before answers come late? (`make loadtest`)

Requests are sent when they are due, whether or not earlier ones have been answered, and their latency counts from
when they were due. So a service that stalls cannot slow down the load that is to show it (coordinated omission).
locust sends them: its HTTP client, its statistics and, on request, its page.

__main__.py     the command: options in, report out
options.py      the command line, checked
service.py      what is known of the service before the load: its address, key, models, tokens per word
arrivals.py     when requests are due
workload.py     what is asked: lengths, shared prefixes, sessions, repetitions
client.py       one request, timed; sent.py is what is kept of it
campaign.py     the steps, one rate after another, with progress
search.py       which rate comes next
figures.py      what the requests of one step amount to
watch.py        meanwhile, in a process of its own: replicas, queues, KV cache, GPUs
document.py     all of it as JSON; compared.py sets two beside each other
page.py         the same as one HTML file; charts.py draws, timeline.py what was watched
"""
