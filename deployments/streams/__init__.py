"""Streams that a client comes back to: numbered, kept in a log for a while, and read on from any ingress replica.

positions.py   the ids of events, and what of a stream a client has not seen
store.py       where logs are kept, and what the service needs of that
memory.py      the logs of tests and single processes
remote.py      the logs in Redis or Valkey: one Redis Stream each
request.py     what another replica needs to go on with a stream whose replica was lost
running.py     a stream that is generated on this replica
reading.py     a stream as one client reads it, wherever it is generated
service.py     all of it for one ingress replica
"""
