"""How replicas talk to each other beside Ray Serve's handles.

    framing.py     a connection carries frames: a channel, a kind, a payload
    connection.py  both ends of a connection: handshake, coalesced writes, back-pressure
    server.py      accepts connections, and knows its address
    client.py      connects, and keeps one connection to each address
    tls.py         encryption between nodes, with certificates that are pinned

A streamed call through a Serve handle costs its receiver about 190 µs a message, most of it gRPC's, and a
look-up through one takes more than twice as long as Redis does. So handles carry a request's life (routing,
failure, cancellation), and connections of our own carry tokens and look-ups:

    model replica   ──▶ ingress replica   frames of answers    (models/delivery/)
    ingress replica ──▶ ingress replica   answers in flight    (chat/peers.py)
    ingress replica ──▶ cache replica     look-ups             (cache/lookup_client.py, cache/lookup_server.py)

An address (host, port, secret, fingerprint of the certificate) travels by a Serve handle or in Redis only.
Whoever connects sends the secret first; without it nothing is read.
"""
